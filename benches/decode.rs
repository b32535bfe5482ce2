//! Nanoseconds to decode one insert of 10 columns, 368 bytes, against a ceiling
//! measured in the same run: a walk over the same bytes that reads lengths only.
//!
//! A main of its own, as criterion prints no ratio of two measurements. The two take
//! turns and the least of many rounds counts, so that other load on the machine
//! falls on neither alone.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use walhook::lsn::Lsn;
use walhook::pgoutput::value::write_json;
use walhook::pgoutput::{Change, Decoder, Operation, StreamEvent, TupleValue};

const ROUNDS: usize = 300;
const ROWS: u32 = 1_024;
/// Rows that are decoded before they are handled: some 45 kilobytes, as a coalesced read brings.
const ROWS_OF_READ: usize = 128;
const MESSAGE_BYTES: usize = 368;
const RELATION_OID: u32 = 16_400;

/// Names, type oids and values of a plausible row.
const COLUMNS: [(&str, u32, &str); 10] = [
    ("id", 20, "9007199254740993"),
    ("tenant_id", 2950, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("customer", 25, "Käthe \"Kitty\" Müller"),
    ("status", 25, "succeeded"),
    ("amount", 1700, "1234567.8900"),
    ("currency", 1042, "EUR"),
    ("captured", 16, "t"),
    ("metadata", 3802, r#"{"channel": "web", "attempt": 2}"#),
    ("created_at", 1184, "2026-11-23 12:00:00.123456+00"),
    ("note", 25, ""),
];

fn main() {
    let frames = frames();
    let mut decoder = decoder();
    let mut events = Vec::with_capacity(ROWS_OF_READ);
    let mut json = Vec::new();
    let (mut walking, mut decoding, mut writing) = (Duration::MAX, Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        walking = walking.min(timed(|| {
            frames.iter().map(|frame| walk(frame)).sum::<usize>()
        }));
        decoding = decoding.min(timed(|| {
            let mut rows = 0;
            for read in frames.chunks(ROWS_OF_READ) {
                for frame in read {
                    decoder.decode(Lsn(1), frame.clone(), &mut events);
                }
                // What was decoded is dropped too, as it must be some time.
                rows += black_box(&mut events).drain(..).count();
            }
            rows
        }));
        writing = writing.min(timed(|| {
            for read in frames.chunks(ROWS_OF_READ) {
                for frame in read {
                    decoder.decode(Lsn(1), frame.clone(), &mut events);
                }
                json.clear();
                for event in events.drain(..) {
                    write_row(&mut json, event);
                }
            }
            json.len()
        }));
    }
    let per_row = |round: Duration| round.as_nanos() as f64 / f64::from(ROWS);
    let row = |what: &str, round: Duration| {
        let ratio = round.as_secs_f64() / walking.as_secs_f64();
        println!(
            "{what:<44} {:>7.1} ns/insert  {ratio:>5.1} x ceiling",
            per_row(round)
        );
    };
    println!(
        "inserts of {} columns, {MESSAGE_BYTES} bytes, least of {ROUNDS} rounds",
        COLUMNS.len()
    );
    row("ceiling: walk over the lengths", walking);
    row("decode and drop", decoding);
    row("decode, write every value as JSON and drop", writing);
}

fn timed(work: impl FnOnce() -> usize) -> Duration {
    let begin = Instant::now();
    black_box(work());
    begin.elapsed()
}

/// Reads what must be read to find every value, and nothing else.
fn walk(frame: &[u8]) -> usize {
    let mut rest = &frame[1 + 4 + 1 + 2..];
    let mut total = 0;
    while let [b't', l0, l1, l2, l3, behind @ ..] = rest {
        let length = u32::from_be_bytes([*l0, *l1, *l2, *l3]) as usize;
        total += length;
        rest = &behind[length..];
    }
    total
}

fn write_row(json: &mut Vec<u8>, event: StreamEvent) {
    let StreamEvent::Change(Change {
        relation,
        operation: Operation::Insert { new },
        ..
    }) = event
    else {
        panic!("not an insert: {event:?}");
    };
    for (column, value) in relation.columns.iter().zip(&new) {
        if let TupleValue::Text(text) = value {
            write_json(json, column.type_oid, text).expect("the values are UTF-8");
        }
    }
}

/// A decoder in an open transaction that knows the relation.
fn decoder() -> Decoder {
    let mut begin = BytesMut::new();
    begin.put_u8(b'B');
    begin.put_u64(100);
    begin.put_i64(0);
    begin.put_u32(1);
    let mut relation = BytesMut::new();
    relation.put_u8(b'R');
    relation.put_u32(RELATION_OID);
    relation.put_slice(b"public\0payments\0d");
    relation.put_u16(COLUMNS.len() as u16);
    for (name, type_oid, _) in COLUMNS {
        relation.put_u8(0);
        relation.put_slice(name.as_bytes());
        relation.put_u8(0);
        relation.put_u32(type_oid);
        relation.put_i32(-1);
    }
    let mut decoder = Decoder::new();
    let mut events = Vec::new();
    decoder.decode(Lsn(1), begin.freeze(), &mut events);
    decoder.decode(Lsn(0), relation.freeze(), &mut events);
    assert!(matches!(events[..], [StreamEvent::Begin(_)]), "{events:?}");
    decoder
}

/// Inserts that share one buffer, as those of one read do.
fn frames() -> Vec<Bytes> {
    let mut buffer = BytesMut::new();
    for _ in 0..ROWS {
        let end = buffer.len() + MESSAGE_BYTES;
        buffer.put_u8(b'I');
        buffer.put_u32(RELATION_OID);
        buffer.put_u8(b'N');
        buffer.put_u16(COLUMNS.len() as u16);
        for (_, _, value) in &COLUMNS[..COLUMNS.len() - 1] {
            buffer.put_u8(b't');
            buffer.put_u32(value.len() as u32);
            buffer.put_slice(value.as_bytes());
        }
        // The note takes what is left.
        buffer.put_u8(b't');
        let note = end - buffer.len() - 4;
        buffer.put_u32(note as u32);
        buffer.put_bytes(b'n', note);
    }
    let mut buffer = buffer.freeze();
    (0..ROWS).map(|_| buffer.split_to(MESSAGE_BYTES)).collect()
}
