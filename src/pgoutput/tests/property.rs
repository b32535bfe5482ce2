//! Properties: what was encoded is decoded, and no bytes make the decoder panic.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::de::IgnoredAny;

use super::super::*;
use super::{encoder, golden_frames};

fn value() -> impl Strategy<Value = TupleValue> {
    prop_oneof![
        Just(TupleValue::Null),
        Just(TupleValue::UnchangedToast),
        vec(any::<u8>(), 0..40).prop_map(|text| TupleValue::Text(text.into())),
    ]
}

fn column() -> impl Strategy<Value = Column> {
    ("[^\0]{0,12}", any::<bool>(), any::<u32>(), any::<i32>()).prop_map(
        |(name, identity, type_oid, type_modifier)| Column {
            name,
            identity,
            type_oid,
            type_modifier,
        },
    )
}

fn relation() -> impl Strategy<Value = Relation> {
    let identity = prop_oneof![
        Just(ReplicaIdentity::Default),
        Just(ReplicaIdentity::Nothing),
        Just(ReplicaIdentity::Full),
        Just(ReplicaIdentity::Index),
    ];
    (
        "[^\0]{1,12}",
        "[^\0]{0,12}",
        any::<u32>(),
        identity,
        vec(column(), 0..12),
    )
        .prop_map(
            |(namespace, name, oid, replica_identity, columns)| Relation {
                oid,
                namespace,
                name,
                replica_identity,
                columns,
            },
        )
}

/// A relation and two rows of it.
fn relation_and_rows() -> impl Strategy<Value = (Relation, Tuple, Tuple)> {
    relation().prop_flat_map(|relation| {
        let row = || vec(value(), relation.columns.len());
        (Just(relation.clone()), row(), row())
    })
}

fn decode(frames: &[Bytes]) -> Vec<StreamEvent> {
    let mut decoder = Decoder::new();
    let mut out = Vec::new();
    for frame in frames {
        decoder.decode(Lsn(1), frame.clone(), &mut out);
    }
    out
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        (relation, old, new) in relation_and_rows(),
        commit_lsn in 0..u64::MAX,
        xid: u32,
        // From year -9999 to 9999.
        micros in -377_000_000_000_000_000i64..252_000_000_000_000_000,
    ) {
        let rows = [(b'O', &old), (b'K', &old), (b'N', &new)];
        let events = decode(&[
            encoder::begin(Lsn(commit_lsn), micros, xid),
            encoder::relation(&relation),
            encoder::change(b'I', relation.oid, &rows[2..]),
            encoder::change(b'U', relation.oid, &rows[2..]),
            encoder::change(b'U', relation.oid, &rows[1..]),
            encoder::change(b'U', relation.oid, &[rows[0], rows[2]]),
            encoder::change(b'D', relation.oid, &rows[..1]),
            encoder::change(b'D', relation.oid, &rows[1..2]),
            encoder::truncate(&[relation.oid]),
            encoder::commit(Lsn(commit_lsn), Lsn(commit_lsn + 1)),
        ]);
        let StreamEvent::Begin(header) = &events[0] else { panic!("{events:?}") };
        prop_assert_eq!((header.commit_lsn, header.xid), (Lsn(commit_lsn), xid));
        prop_assert_eq!(header.committed_at.as_microsecond(), micros + 946_684_800_000_000);
        let expected = [
            (None, Some(&new)),
            (None, Some(&new)),
            (Some(OldTuple::Key(old.clone())), Some(&new)),
            (Some(OldTuple::Full(old.clone())), Some(&new)),
            (Some(OldTuple::Full(old.clone())), None),
            (Some(OldTuple::Key(old.clone())), None),
            (None, None),
        ];
        for (ordinal, (event, (old, new))) in events[1..].iter().zip(&expected).enumerate() {
            let StreamEvent::Change(change) = event else { panic!("{event:?}") };
            prop_assert_eq!(change.ordinal, ordinal as u64);
            prop_assert_eq!(&*change.relation, &relation);
            let (found_old, found_new) = match &change.operation {
                Operation::Insert { new } => (None, Some(new)),
                Operation::Update { old, new } => (old.clone(), Some(new)),
                Operation::Delete { old } => (Some(old.clone()), None),
                Operation::Truncate => (None, None),
            };
            prop_assert_eq!(&found_old, old);
            prop_assert_eq!(found_new, *new);
        }
        prop_assert_eq!(events.len(), expected.len() + 2);
    }

    #[test]
    fn messages_round_trip(transactional: bool, lsn: u64, prefix in "[^\0]{0,20}", content: Vec<u8>) {
        let events = decode(&[
            encoder::begin(Lsn(1), 0, 1),
            encoder::logical_message(transactional, Lsn(lsn), &prefix, &content),
        ]);
        let StreamEvent::Message { transactional: t, lsn: l, prefix: p, content: c } = &events[1] else {
            panic!("{events:?}");
        };
        prop_assert_eq!((*t, l.0, p, &c[..]), (transactional, lsn, &prefix, &content[..]));
    }

    #[test]
    fn no_bytes_panic(frames in vec(vec(any::<u8>(), 0..60), 0..20)) {
        let frames: Vec<Bytes> = frames.into_iter().map(Bytes::from).collect();
        decode(&frames);
    }

    #[test]
    fn no_bytes_behind_a_known_tag_panic(
        tag in prop::sample::select(b"BCORYIUDTM".as_slice()),
        rest in vec(any::<u8>(), 0..60),
    ) {
        decode(&[encoder::begin(Lsn(1), 0, 1), [&[tag], &rest[..]].concat().into()]);
    }
}

/// A shorter message is never taken for a whole one: every field is needed.
#[test]
fn no_cut_frame_of_a_real_server_is_taken_for_a_whole_one() {
    let mut decoder = Decoder::new();
    let mut out = Vec::new();
    for (lsn, frame) in golden_frames() {
        let unread = frame[0] == b'O';
        // Long rows are cut at their ends, where the fields are.
        let cuts = (0..frame.len()).filter(|cut| *cut < 300 || frame.len() - cut < 30);
        for cut in cuts.filter(|_| !unread) {
            let mut twin = decoder.clone();
            twin.decode(lsn, frame.slice(..cut), &mut out);
            assert!(
                matches!(out[..], [StreamEvent::Undecodable { .. }]),
                "{cut} of {} bytes: {out:?}",
                frame.len()
            );
            out.clear();
        }
        decoder.decode(lsn, frame, &mut out);
        out.clear();
    }
}

/// Also writes every value that is decoded as JSON, of the type its relation says.
#[test]
fn two_hundred_thousand_mutated_frames_do_no_harm() {
    let golden = golden_frames();
    let rounds = 200_000_usize.div_ceil(golden.len());
    let mut random = SmallRng::seed_from_u64(15);
    let mut decoder = Decoder::new();
    let mut out = Vec::new();
    let mut changes = 0;
    for (lsn, frame) in golden {
        for _ in 0..rounds {
            // Of a twin, so that every mutated frame meets all that was described before it.
            let mut twin = decoder.clone();
            twin.decode(lsn, mutate(&mut random, &frame), &mut out);
            changes += out.drain(..).filter(write_values).count();
        }
        decoder.decode(lsn, frame, &mut out);
        out.clear();
    }
    // Guards the test itself: it must look behind the framing too.
    assert!(changes > 5_000, "only {changes} mutated changes were read");
}

/// Whether the event is a new row; its values must come out as JSON or not at all.
fn write_values(event: &StreamEvent) -> bool {
    let StreamEvent::Change(change) = event else {
        return false;
    };
    let (Operation::Insert { new } | Operation::Update { new, .. }) = &change.operation else {
        return false;
    };
    assert_eq!(new.len(), change.relation.columns.len());
    let mut json = Vec::new();
    for (column, value) in change.relation.columns.iter().zip(new) {
        let TupleValue::Text(text) = value else {
            continue;
        };
        json.clear();
        match value::write_json(&mut json, column.type_oid, text) {
            Ok(()) => {
                let json = std::str::from_utf8(&json).unwrap();
                serde_json::from_str::<IgnoredAny>(json).unwrap();
            }
            Err(_) => assert!(json.is_empty()),
        }
    }
    true
}

/// One or two bytes set, flipped, cut out or put in, or the end cut off. Mostly what
/// keeps the length, so that many get past the framing.
fn mutate(random: &mut SmallRng, frame: &Bytes) -> Bytes {
    let mut bytes = frame.to_vec();
    for _ in 0..random.random_range(1..=2) {
        let at = random.random_range(0..bytes.len().max(1));
        match random.random_range(0..10) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.random()),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3..6 if at < bytes.len() => bytes[at] = random.random(),
            _ if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            _ => {}
        }
    }
    bytes.into()
}
