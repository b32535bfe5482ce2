//! Several deliveries of one subscription as one request: which ones go together, and the
//! bytes that are sent. Both are decided by the store's rows alone, so that a batch is
//! the same at every attempt, whichever process makes it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use uuid::Uuid;

use super::cloud_event::{NotAnEvent, cloud_event};
use crate::event::{BatchId, DeliveryId, EventId, id_milliseconds};
use crate::subscription::{Batching, Format};

/// The type of a batch's body. Types below `webhook.` are walhook's own: no rule makes one.
pub const BATCH_TYPE: &str = "webhook.batch";

/// A batch whose members are committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub id: BatchId,
    /// In the order in which they are sent.
    pub members: Vec<Member>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: DeliveryId,
    pub event_id: EventId,
    pub event_type: Arc<str>,
    pub occurred_at: Timestamp,
    /// As of a delivery.
    pub of_stream: bool,
}

/// A delivery that waits for its batch to close.
#[derive(Clone, Debug)]
pub struct Open {
    pub id: Uuid,
    pub format: Format,
    /// Of its body, as it is sent.
    pub bytes: usize,
    /// Since when.
    pub waited: Duration,
}

/// Deliveries that go together: the first so many of those that are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    pub events: usize,
    pub bytes: usize,
}

/// What closes, of deliveries in the order of the WAL, and how long until what is left
/// does; none where nothing is.
pub fn cut(open: &[Open], batching: &Batching, tenant: &str) -> (Vec<Cut>, Option<Duration>) {
    let mut cuts = Vec::new();
    let mut rest = open;
    while let Some(first) = rest.first() {
        let (batch, is_full) = fill(rest, batching, tenant);
        let oldest = rest[..batch.events].iter().map(|one| one.waited).max();
        let left = batching
            .max_wait
            .saturating_sub(oldest.unwrap_or(first.waited));
        if !is_full && !left.is_zero() {
            return (cuts, Some(left));
        }
        rest = &rest[batch.events..];
        cuts.push(batch);
    }
    (cuts, None)
}

/// The batch that begins here, and whether nothing more goes into it. The first always
/// does: an event that is larger than a batch may be goes alone.
fn fill(open: &[Open], batching: &Batching, tenant: &str) -> (Cut, bool) {
    let format = open[0].format;
    let max_bytes = usize::try_from(batching.max_bytes).unwrap_or(usize::MAX);
    let mut cut = Cut {
        events: 1,
        bytes: frame(format, BatchId(Uuid::nil()), tenant).len() + open[0].bytes,
    };
    for next in &open[1..] {
        let bytes = cut.bytes + ",".len() + next.bytes;
        let fits = cut.events < usize::from(batching.max_events) && bytes <= max_bytes;
        if next.format != format || !fits {
            return (cut, true);
        }
        cut = Cut {
            events: cut.events + 1,
            bytes,
        };
    }
    let is_full = cut.events >= usize::from(batching.max_events) || cut.bytes >= max_bytes;
    (cut, is_full)
}

/// The body of a batch of stored events: each as it would be sent by itself.
pub fn body<'a>(
    id: BatchId,
    tenant: &str,
    format: Format,
    events: impl Iterator<Item = &'a [u8]>,
) -> Result<Bytes, NotAnEvent> {
    let Frame { head, tail } = frame(format, id, tenant);
    let mut body = head.into_bytes();
    for (number, event) in events.enumerate() {
        if number > 0 {
            body.push(b',');
        }
        match format {
            Format::Standard => body.extend_from_slice(event),
            Format::CloudEvents => body.extend_from_slice(&cloud_event(event)?),
        }
    }
    body.extend_from_slice(tail.as_bytes());
    Ok(body.into())
}

/// What stands around the events.
struct Frame {
    head: String,
    tail: &'static str,
}

impl Frame {
    fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }
}

/// A CloudEvents batch is a bare array: its id is in the header alone.
fn frame(format: Format, id: BatchId, tenant: &str) -> Frame {
    match format {
        Format::Standard => Frame {
            head: format!(
                r#"{{"id":"{id}","type":"{BATCH_TYPE}","timestamp":"{}","tenant_id":{},"data":["#,
                closed_at(id).strftime("%Y-%m-%dT%H:%M:%S%.6fZ"),
                json!(tenant),
            ),
            tail: "]}",
        },
        Format::CloudEvents => Frame {
            head: "[".to_owned(),
            tail: "]",
        },
    }
}

/// When the batch closed, as its id says.
fn closed_at(id: BatchId) -> Timestamp {
    let since = SignedDuration::from_millis(i64::try_from(id_milliseconds(id.0)).unwrap_or(0));
    Timestamp::UNIX_EPOCH
        .checked_add(since)
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCHING: Batching = Batching {
        max_events: 3,
        max_bytes: 1_000,
        max_wait: Duration::from_secs(10),
    };

    fn open(bytes: usize, waited: u64) -> Open {
        Open {
            id: Uuid::nil(),
            format: Format::Standard,
            bytes,
            waited: Duration::from_secs(waited),
        }
    }

    /// How many events each batch that closes has, and the seconds until the rest does.
    fn cuts(open: &[Open]) -> (Vec<usize>, Option<u64>) {
        let (cuts, left) = cut(open, &BATCHING, "acme");
        let counts = cuts.iter().map(|cut| cut.events).collect();
        (counts, left.map(|left| left.as_secs()))
    }

    #[test]
    fn a_batch_closes_when_it_is_full_or_its_oldest_has_waited() {
        for (waiting, expected) in [
            (vec![], (vec![], None)),
            (vec![open(10, 0)], (vec![], Some(10))),
            (vec![open(10, 10)], (vec![1], None)),
            // Full of events …
            (vec![open(10, 0); 3], (vec![3], None)),
            (vec![open(10, 4); 7], (vec![3, 3], Some(6))),
            // … of bytes …
            (vec![open(500, 0), open(500, 0)], (vec![1], Some(10))),
            (vec![open(400, 0), open(400, 0)], (vec![], Some(10))),
            (vec![open(2_000, 0)], (vec![1], None)),
            (
                vec![open(10, 0), open(2_000, 0), open(10, 0)],
                (vec![1, 1], Some(10)),
            ),
            // … or old, though the one that came last stands first in the WAL.
            (vec![open(10, 0), open(10, 11)], (vec![2], None)),
        ] {
            assert_eq!(cuts(&waiting), expected, "{waiting:?}");
        }
    }

    #[test]
    fn one_request_has_one_format() {
        let cloud_event = Open {
            format: Format::CloudEvents,
            ..open(10, 0)
        };
        let waiting = [open(10, 0), cloud_event.clone(), cloud_event];
        assert_eq!(cuts(&waiting), (vec![1], Some(10)));
    }

    #[test]
    fn the_bytes_are_those_that_were_counted() {
        let events: [&[u8]; 2] = [br#"{"id":"evt_1"}"#, br#"{"id":"evt_2"}"#];
        let id: BatchId = "bat_019aa8f1-7c00-7000-8000-000000000000".parse().unwrap();
        let sent = body(id, "ac\"me", Format::Standard, events.into_iter()).unwrap();
        assert_eq!(
            std::str::from_utf8(&sent).unwrap(),
            r#"{"id":"bat_019aa8f1-7c00-7000-8000-000000000000","type":"webhook.batch","timestamp":"2025-11-22T00:23:09.568000Z","tenant_id":"ac\"me","data":[{"id":"evt_1"},{"id":"evt_2"}]}"#
        );
        let waiting = events.map(|event| open(event.len(), 10));
        let (cuts, _) = cut(&waiting, &BATCHING, "ac\"me");
        assert_eq!(cuts[0].bytes, sent.len());
    }

    #[test]
    fn cloud_events_are_an_array() {
        let event: &[u8] =
            br#"{"id":"evt_1","type":"a.b","timestamp":"2026-11-23T12:00:00Z","data":{}}"#;
        let id = BatchId(Uuid::nil());
        let sent = body(id, "t", Format::CloudEvents, [event, event].into_iter()).unwrap();
        let sent: serde_json::Value = serde_json::from_slice(&sent).unwrap();
        assert_eq!(sent.as_array().unwrap().len(), 2);
        assert_eq!(sent[1]["specversion"], "1.0");
        let broken: &[u8] = b"{}";
        assert!(body(id, "t", Format::CloudEvents, [broken].into_iter()).is_err());
    }
}
