//! Renders a stored event as a CloudEvent 1.0 in structured JSON mode.
//!
//! A pure function of the stored bytes, so that every attempt signs the same. Each
//! value is copied as it stands; `data` is the event's `data` in either format. The
//! tenant and the position in the WAL become the extension attributes `tenantid` and
//! `sequence` (CloudEvents' sequence extension). An extension attribute cannot be an
//! object, and inside `data` the old values could meet a column of that name: so
//! `previous` becomes an attribute whose string holds the JSON object. `backfill`, on the
//! event of a row that existed already, and `test`, on one that tests an endpoint, are attributes
//! as they stand.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Says where events come from; with `id`, which is unique for ever, it makes one unique.
const SOURCE: &str = "walhook";

/// The stored bytes are no event. Quotes nothing of them.
#[derive(Debug, thiserror::Error)]
#[error("the stored body is not an event with id, type, timestamp and data")]
pub struct NotAnEvent;

#[derive(Deserialize)]
struct StoredEvent<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow, rename = "type")]
    event_type: &'a RawValue,
    #[serde(borrow)]
    timestamp: &'a RawValue,
    #[serde(borrow)]
    tenant_id: Option<&'a RawValue>,
    #[serde(borrow)]
    sequence: Option<&'a RawValue>,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(borrow)]
    previous: Option<&'a RawValue>,
    #[serde(borrow)]
    backfill: Option<&'a RawValue>,
    #[serde(borrow)]
    test: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: &'a RawValue,
    source: &'static str,
    #[serde(rename = "type")]
    event_type: &'a RawValue,
    time: &'a RawValue,
    datacontenttype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenantid: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backfill: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    test: Option<&'a RawValue>,
    data: &'a RawValue,
}

/// Renders the stored standard body `body` as a CloudEvent.
pub fn cloud_event(body: &[u8]) -> Result<Bytes, NotAnEvent> {
    let event: StoredEvent<'_> = serde_json::from_slice(body).map_err(|_| NotAnEvent)?;
    let cloud_event = CloudEvent {
        specversion: "1.0",
        id: event.id,
        source: SOURCE,
        event_type: event.event_type,
        time: event.timestamp,
        datacontenttype: "application/json",
        tenantid: event.tenant_id,
        sequence: event.sequence,
        previous: event.previous.map(RawValue::get),
        backfill: event.backfill,
        test: event.test,
        data: event.data,
    };
    let rendered = serde_json::to_vec(&cloud_event).map_err(|_| NotAnEvent)?;
    Ok(Bytes::from(rendered))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(body: &str) -> String {
        let rendered = cloud_event(body.as_bytes()).unwrap();
        String::from_utf8(rendered.to_vec()).unwrap()
    }

    #[test]
    fn every_value_is_copied_as_it_stands() {
        let body = r#"{"id":"evt_1","type":"payment.received","timestamp":"2026-11-23T12:00:00.123456Z",
            "tenant_id":"acme","sequence":"00000000016B3748-0000000003",
            "data":{"z":1.10,"a":12345678901234567890.123456789,"s":"\u00e9"},
            "previous":{"status":"pend\"ing"}}"#;
        assert_eq!(
            render(body),
            r#"{"specversion":"1.0","id":"evt_1","source":"walhook","type":"payment.received","time":"2026-11-23T12:00:00.123456Z","datacontenttype":"application/json","tenantid":"acme","sequence":"00000000016B3748-0000000003","previous":"{\"status\":\"pend\\\"ing\"}","data":{"z":1.10,"a":12345678901234567890.123456789,"s":"\u00e9"}}"#
        );
    }

    #[test]
    fn a_ping_has_no_place_in_the_log() {
        let body = r#"{"id":"evt_1","type":"ping","timestamp":"2026-11-23T12:00:00Z","tenant_id":"t","data":{}}"#;
        let rendered = render(body);
        assert!(!rendered.contains("sequence") && !rendered.contains("previous"));
        assert!(rendered.ends_with(r#","data":{}}"#));
    }

    #[test]
    fn a_backfilled_row_says_so() {
        let body = r#"{"id":"evt_1","type":"a.b","timestamp":"2026-11-23T12:00:00Z","tenant_id":"t","data":{},"backfill":"bkf_1"}"#;
        let rendered = render(body);
        assert!(rendered.ends_with(r#","backfill":"bkf_1","data":{}}"#));
    }

    #[test]
    fn what_is_no_event_is_refused() {
        for body in ["", "{}", "[]", "null", r#"{"id":"x"}"#, "\u{0}", "{\"id\":"] {
            assert!(cloud_event(body.as_bytes()).is_err(), "{body}");
        }
        assert!(cloud_event(b"\xff\xff").is_err());
    }
}
