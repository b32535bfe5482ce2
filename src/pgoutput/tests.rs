//! Tests of the decoder: frames of a real server, broken frames, and any bytes.

use std::fmt::Write;

use bytes::Bytes;

use super::*;
use crate::lsn::Lsn;

mod broken;
mod encoder;
mod property;

/// Frames of PostgreSQL 15, by `tests/fixtures/pgoutput/capture.sql`.
const FRAMES: &str = include_str!("../../tests/fixtures/pgoutput/messages.frames");
/// What they say, read and found right by a person.
const EVENTS: &str = include_str!("../../tests/fixtures/pgoutput/messages.events");

fn golden_frames() -> Vec<(Lsn, Bytes)> {
    let frame = |line: &str| {
        let (lsn, hex) = line.split_once(' ').unwrap();
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect();
        (lsn.parse().unwrap(), Bytes::from(bytes))
    };
    FRAMES.lines().map(frame).collect()
}

/// An event on one line, without what differs from one capture to the next.
fn render(event: &StreamEvent) -> String {
    match event {
        StreamEvent::Begin(_) => "begin".to_owned(),
        StreamEvent::Commit { .. } => "commit".to_owned(),
        StreamEvent::Message {
            transactional,
            prefix,
            content,
            ..
        } => format!("message transactional={transactional} {prefix} {content:?}"),
        StreamEvent::Change(change) => {
            let row = |tuple: &Tuple| row(&change.relation, tuple);
            let what = match &change.operation {
                Operation::Insert { new } => format!("insert{}", row(new)),
                Operation::Update { old: None, new } => format!("update{}", row(new)),
                Operation::Update {
                    old: Some(OldTuple::Key(old)),
                    new,
                } => format!("update key{} to{}", row(old), row(new)),
                Operation::Update {
                    old: Some(OldTuple::Full(old)),
                    new,
                } => format!("update whole{} to{}", row(old), row(new)),
                Operation::Delete {
                    old: OldTuple::Key(old),
                } => format!("delete key{}", row(old)),
                Operation::Delete {
                    old: OldTuple::Full(old),
                } => format!("delete whole{}", row(old)),
                Operation::Truncate => "truncate".to_owned(),
            };
            let name = change.relation.qualified_name();
            format!("{} {name} {what}", change.ordinal)
        }
        StreamEvent::Keepalive { .. } | StreamEvent::Undecodable { .. } => {
            panic!("unexpected: {event:?}")
        }
    }
}

fn row(relation: &Relation, tuple: &Tuple) -> String {
    let mut line = String::new();
    for (column, value) in relation.columns.iter().zip(tuple) {
        let json = match value {
            TupleValue::Null => "null".to_owned(),
            TupleValue::UnchangedToast => "(unchanged)".to_owned(),
            TupleValue::Omitted { bytes } => format!("({bytes} bytes)"),
            TupleValue::Text(text) => {
                let mut json = Vec::new();
                value::write_json(&mut json, column.type_oid, text).unwrap();
                String::from_utf8(json).unwrap()
            }
        };
        let json = match json.len() {
            0..500 => json,
            length => format!("({length} bytes)"),
        };
        write!(line, " {}={json}", column.name).unwrap();
    }
    line
}

#[test]
fn frames_of_a_real_server_say_what_was_done_to_it() {
    let mut decoder = Decoder::new();
    let mut events = Vec::new();
    for (lsn, frame) in golden_frames() {
        decoder.decode(lsn, frame, &mut events);
    }
    let rendered: String = events.iter().map(|event| render(event) + "\n").collect();
    for (line, (found, expected)) in rendered.lines().zip(EVENTS.lines()).enumerate() {
        assert_eq!(found, expected, "line {}", line + 1);
    }
    assert_eq!(rendered.lines().count(), EVENTS.lines().count());
}

#[test]
fn commits_carry_their_places_and_times() {
    let mut decoder = Decoder::new();
    let mut events = Vec::new();
    for (lsn, frame) in golden_frames() {
        decoder.decode(lsn, frame, &mut events);
    }
    let mut begun = None;
    for event in &events {
        match event {
            StreamEvent::Begin(header) => begun = Some(*header),
            StreamEvent::Commit {
                commit_lsn,
                end_lsn,
            } => {
                let header = begun.take().unwrap();
                assert_eq!(header.commit_lsn, *commit_lsn);
                assert!(end_lsn > commit_lsn);
            }
            _ => {}
        }
    }
    // The transaction that was replayed from elsewhere, with its time there.
    let of_origin = jiff::Timestamp::from_second(1_767_225_600).unwrap();
    assert!(
        events
            .iter()
            .any(|event| matches!(event, StreamEvent::Begin(h) if h.committed_at == of_origin))
    );
}
