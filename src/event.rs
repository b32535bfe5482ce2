//! Business events and their identity.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::lsn::Lsn;

/// Where the change behind an event stands in the WAL, and which rule made the
/// event of it. Orders events: rows of one `COPY` share one LSN and change LSNs
/// of interleaved transactions go backwards, so that only the commit's LSN and
/// the ordinal inside the transaction identify a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventPosition {
    pub commit_lsn: Lsn,
    /// Counts every insert, update, delete and truncated relation of the
    /// transaction, matched by a rule or not, from 0.
    pub ordinal: u64,
    /// The rule's place in the configuration.
    pub rule_index: u16,
}

impl EventPosition {
    /// The body's `sequence`: 16 hex digits of the commit LSN and 10 of the
    /// ordinal, so that it sorts as text.
    pub fn sequence(&self) -> String {
        format!("{:016X}-{:010X}", self.commit_lsn.0, self.ordinal)
    }
}

/// An event's identity, shown as `evt_` and the UUID; also the `webhook-id`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub Uuid);

impl EventId {
    /// The id of the event that rule `rule_name` makes of a change. A function of
    /// where the change stands, so that a replay after a crash meets its own rows.
    /// The timeline is left out: a clean failover reproduces the ids.
    pub fn of_change(
        system_identifier: u64,
        commit_lsn: Lsn,
        ordinal: u64,
        rule_name: &str,
        committed_at: Timestamp,
    ) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"walhook event\0");
        hash.update(system_identifier.to_be_bytes());
        hash.update(commit_lsn.0.to_be_bytes());
        hash.update(ordinal.to_be_bytes());
        hash.update(rule_name.as_bytes());
        EventId(uuid_of(milliseconds(committed_at), &hash.finalize()))
    }

    /// The id of the event that rule `rule_name` makes of a row that a backfill met,
    /// `seen_at` then. `row` says of the table which row it is.
    pub fn of_row(
        system_identifier: u64,
        backfill: BackfillId,
        table: &str,
        row: &[u8],
        rule_name: &str,
        seen_at: Timestamp,
    ) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"walhook backfill\0");
        hash.update(system_identifier.to_be_bytes());
        hash.update(backfill.0.as_bytes());
        for part in [table.as_bytes(), row, rule_name.as_bytes()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        EventId(uuid_of(milliseconds(seen_at), &hash.finalize()))
    }

    /// The id of an event that stands nowhere in the WAL, as a `ping`, made at this time.
    pub fn random(at: Timestamp) -> Self {
        EventId(uuid_of(milliseconds(at), &rand::random::<[u8; 10]>()))
    }
}

/// A delivery's identity, shown as `dlv_` and the UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId(pub Uuid);

impl DeliveryId {
    /// The delivery of an event to a subscription; `replay` is nil for the first
    /// and the replay's id for every later one. Carries the event's milliseconds,
    /// so that an event and its deliveries share a day's partition.
    pub fn derive(event: EventId, subscription: Uuid, replay: Uuid) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"walhook delivery\0");
        hash.update(event.0.as_bytes());
        hash.update(subscription.as_bytes());
        hash.update(replay.as_bytes());
        DeliveryId(uuid_of(id_milliseconds(event.0), &hash.finalize()))
    }
}

/// A map by ids. What they are made of is a hash or random in their last eight bytes, which
/// nobody outside can choose: it needs no hashing again, as it is asked for some twenty
/// times a delivery.
pub type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;
pub type IdSet<K> = HashSet<K, BuildHasherDefault<IdHasher>>;

/// The last eight bytes of an id.
#[derive(Clone, Copy, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last_chunk() {
            self.0 = u64::from_be_bytes(*last);
        }
    }

    /// The first of these bytes begins with a UUID's variant, which is always the same, and
    /// a map tells entries apart by the first bits.
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 << 8)
    }
}

/// The Unix milliseconds in the first 48 bits of a UUIDv7-shaped id.
pub fn id_milliseconds(id: Uuid) -> u64 {
    (id.as_u128() >> 80) as u64
}

/// The smallest id of a millisecond: a bound for ranges of ids.
pub fn id_floor(milliseconds: u64) -> Uuid {
    Uuid::from_u128(u128::from(milliseconds & 0xFFFF_FFFF_FFFF) << 80)
}

/// Unix milliseconds as an id carries them: never below 0, never above 48 bits.
pub fn milliseconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_millisecond())
        .unwrap_or(0)
        .min(0xFFFF_FFFF_FFFF)
}

/// A UUIDv7 (RFC 9562 §5.7) whose random bits are a hash.
fn uuid_of(milliseconds: u64, hash: &[u8]) -> Uuid {
    let mut random = [0; 10];
    random.copy_from_slice(&hash[..10]);
    uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid()
}

macro_rules! prefixed {
    ($name:ident, $prefix:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.strip_prefix($prefix)
                    .and_then(|uuid| Uuid::try_parse(uuid).ok())
                    .map($name)
                    .ok_or_else(|| ParseIdError {
                        text: text.to_owned(),
                        prefix: $prefix,
                    })
            }
        }
    };
}

prefixed!(EventId, "evt_");
prefixed!(DeliveryId, "dlv_");
prefixed!(SubscriptionId, "sub_");
prefixed!(BackfillId, "bkf_");
prefixed!(BatchId, "bat_");
prefixed!(JobId, "job_");

/// A subscription's identity, shown as `sub_` and the UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(pub Uuid);

/// A backfill's identity, shown as `bkf_` and the UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackfillId(pub Uuid);

/// A batch's identity, shown as `bat_` and the UUID; also the `webhook-id` that it is
/// sent under.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub Uuid);

/// The identity of a bulk retry or a replay, shown as `job_` and the UUID. A replay's deliveries
/// carry the UUID as their replay's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub Uuid);

/// The text was not the prefix and a UUID.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is not an id: expected `{prefix}` and a UUID")]
pub struct ParseIdError {
    text: String,
    prefix: &'static str,
}

/// What a rule made of a committed change: stored once, sent to every subscriber.
#[derive(Clone, PartialEq)]
pub struct Event {
    pub id: EventId,
    pub position: EventPosition,
    pub tenant_id: Arc<str>,
    /// The table and the row's key as canonical text: equal for two events of one row.
    pub row_key: String,
    pub event_type: Arc<str>,
    /// When the transaction committed.
    pub occurred_at: Timestamp,
    /// The exact bytes that are signed and sent.
    pub body: Bytes,
}

/// Without the body and the key: they are the tenant's data.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("id", &self.id)
            .field("event_type", &self.event_type)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_function_of_the_place_in_the_log() {
        let at: Timestamp = "2026-11-23T12:00:00.123456Z".parse().unwrap();
        let id = |ordinal, rule| EventId::of_change(7, Lsn(42), ordinal, rule, at);
        assert_eq!(id(1, "a"), id(1, "a"));
        assert_ne!(id(1, "a"), id(2, "a"));
        assert_ne!(id(1, "a"), id(1, "b"));
        assert_eq!(id(1, "a").0.get_version_num(), 7);
        assert_eq!(id_milliseconds(id(1, "a").0), 1_795_435_200_123);
    }

    #[test]
    fn the_id_of_a_backfilled_row_keeps_its_parts_apart() {
        let at: Timestamp = "2026-11-23T12:00:00.123456Z".parse().unwrap();
        let backfill = BackfillId(Uuid::from_u128(1));
        let id = |table, row: &[u8], rule| EventId::of_row(7, backfill, table, row, rule, at);
        assert_eq!(id("t", b"1", "a"), id("t", b"1", "a"));
        assert_ne!(id("t", b"1", "a"), id("t", b"2", "a"));
        assert_ne!(id("t", b"1a", ""), id("t", b"1", "a"));
        let other = EventId::of_row(7, BackfillId(Uuid::from_u128(2)), "t", b"1", "a", at);
        assert_ne!(id("t", b"1", "a"), other);
        assert_eq!(id_milliseconds(other.0), 1_795_435_200_123);
    }

    #[test]
    fn a_delivery_shares_its_events_day_and_a_replay_is_its_own() {
        let event = EventId::random(Timestamp::UNIX_EPOCH);
        let subscription = Uuid::now_v7();
        let first = DeliveryId::derive(event, subscription, Uuid::nil());
        assert_eq!(id_milliseconds(first.0), id_milliseconds(event.0));
        assert_ne!(
            first,
            DeliveryId::derive(event, subscription, Uuid::now_v7())
        );
    }

    #[test]
    fn ids_read_what_they_write_and_refuse_another_kind() {
        let id = EventId::random(Timestamp::UNIX_EPOCH);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.to_string().parse::<DeliveryId>().is_err());
        assert!("evt_x".parse::<EventId>().is_err());
    }

    #[test]
    fn sequences_sort_as_text() {
        let position = EventPosition {
            commit_lsn: Lsn(0x16B_3748),
            ordinal: 3,
            rule_index: 0,
        };
        assert_eq!(position.sequence(), "00000000016B3748-0000000003");
    }
}
