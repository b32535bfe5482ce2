//! What is made of frames that are not as they should be: parked alone, or fatal.

use bytes::Bytes;

use super::super::*;
use super::encoder;

fn decode_all(decoder: &mut Decoder, frames: &[Bytes]) -> Vec<StreamEvent> {
    let mut out = Vec::new();
    for frame in frames {
        decoder.decode(Lsn(7), frame.clone(), &mut out);
    }
    out
}

fn table(columns: usize) -> Relation {
    Relation {
        oid: 16_400,
        namespace: "public".to_owned(),
        name: "orders".to_owned(),
        replica_identity: ReplicaIdentity::Default,
        columns: (0..columns)
            .map(|number| Column {
                name: format!("c{number}"),
                identity: number == 0,
                type_oid: 25,
                type_modifier: -1,
            })
            .collect(),
    }
}

fn text(text: &'static str) -> TupleValue {
    TupleValue::Text(Bytes::from_static(text.as_bytes()))
}

/// A decoder inside a transaction that knows a table of two columns.
fn inside_transaction() -> Decoder {
    let mut decoder = Decoder::new();
    let opening = [encoder::begin(Lsn(100), 0, 1), encoder::relation(&table(2))];
    assert_eq!(decode_all(&mut decoder, &opening).len(), 1);
    decoder
}

#[test]
fn a_change_that_cannot_be_read_is_parked_alone_and_keeps_its_ordinal() {
    let row = vec![text("1"), text("2")];
    let good = encoder::insert(16_400, &row);
    let with_column_format = |format: u8| {
        let mut bytes = good.to_vec();
        bytes[8] = format;
        Bytes::from(bytes)
    };
    let cases: [(&str, Bytes, Option<&str>); 11] = [
        (
            "ends early: 1 more bytes",
            good.slice(..good.len() - 1),
            Some("public.orders"),
        ),
        ("no relation", good.slice(..3), None),
        ("unknown relation", encoder::insert(5, &row), None),
        (
            "too few columns",
            encoder::insert(16_400, &row[..1].to_vec()),
            Some("public.orders"),
        ),
        (
            "trailing byte",
            [&good[..], b"x"].concat().into(),
            Some("public.orders"),
        ),
        ("binary", with_column_format(b'b'), Some("public.orders")),
        (
            "unknown format",
            with_column_format(b'?'),
            Some("public.orders"),
        ),
        (
            "insert of an old row",
            encoder::change(b'I', 16_400, &[(b'O', &row)]),
            Some("public.orders"),
        ),
        (
            "delete of a new row",
            encoder::change(b'D', 16_400, &[(b'N', &row)]),
            Some("public.orders"),
        ),
        (
            "update with two old rows",
            encoder::change(b'U', 16_400, &[(b'O', &row), (b'O', &row)]),
            Some("public.orders"),
        ),
        (
            "negative length",
            [&good[..9], &[0xFF; 8]].concat().into(),
            Some("public.orders"),
        ),
    ];
    for (case, broken, expected_relation) in cases {
        let mut decoder = inside_transaction();
        let events = decode_all(&mut decoder, &[good.clone(), broken.clone(), good.clone()]);
        let [
            StreamEvent::Change(before),
            StreamEvent::Undecodable {
                lsn: Lsn(7),
                ordinal: Some(1),
                relation,
                error,
                payload,
            },
            StreamEvent::Change(after),
        ] = &events[..]
        else {
            panic!("{case}: {events:?}");
        };
        assert_eq!((before.ordinal, after.ordinal), (0, 2), "{case}");
        assert_eq!(relation.as_deref(), expected_relation, "{case}");
        assert_eq!(payload, &broken, "{case}");
        assert!(!error.is_fatal(), "{case}: {error}");
    }
}

#[test]
fn what_makes_later_places_unsure_is_fatal() {
    let begin = encoder::begin(Lsn(200), 0, 2);
    let commit = encoder::commit(Lsn(100), Lsn(120));
    let truncate = encoder::truncate(&[16_400, 16_401]);
    let cases: [(&str, Decoder, Bytes); 15] = [
        ("empty", Decoder::new(), Bytes::new()),
        (
            "streamed",
            inside_transaction(),
            Bytes::from_static(b"S\0\0\0\x01\x01"),
        ),
        ("begin ends early", Decoder::new(), begin.slice(..20)),
        (
            "begin goes on",
            Decoder::new(),
            [&begin[..], b"x"].concat().into(),
        ),
        (
            "begin in a transaction",
            inside_transaction(),
            begin.clone(),
        ),
        (
            "time overflows",
            Decoder::new(),
            encoder::begin(Lsn(1), i64::MAX, 1),
        ),
        (
            "time before year -9999",
            Decoder::new(),
            encoder::begin(Lsn(1), i64::MIN, 1),
        ),
        (
            "commit ends early",
            inside_transaction(),
            commit.slice(..25),
        ),
        ("commit outside", Decoder::new(), commit.clone()),
        (
            "commit of another",
            inside_transaction(),
            encoder::commit(Lsn(99), Lsn(120)),
        ),
        (
            "commit ends before it begins",
            inside_transaction(),
            encoder::commit(Lsn(100), Lsn(100)),
        ),
        (
            "insert outside",
            Decoder::new(),
            encoder::insert(16_400, &vec![]),
        ),
        (
            "message outside",
            Decoder::new(),
            encoder::logical_message(true, Lsn(1), "p", b""),
        ),
        (
            "truncate ends early",
            inside_transaction(),
            truncate.slice(..13),
        ),
        (
            "relation without an oid",
            inside_transaction(),
            Bytes::from_static(b"R\0\0"),
        ),
    ];
    for (case, mut decoder, broken) in cases {
        let events = decode_all(&mut decoder, &[broken]);
        let [
            StreamEvent::Undecodable {
                error,
                ordinal: None,
                ..
            },
        ] = &events[..]
        else {
            panic!("{case}: {events:?}");
        };
        assert!(error.is_fatal(), "{case}: {error}");
    }
}

#[test]
fn a_count_announces_nothing_that_is_allocated() {
    let huge = Bytes::from_static(b"T\x7F\xFF\xFF\xFF\0\0\0\0\x01");
    let events = decode_all(&mut inside_transaction(), &[huge]);
    assert!(matches!(
        &events[..],
        [StreamEvent::Undecodable {
            error: DecodeError::Malformed {
                fault: Fault::EndsEarly { .. },
                ..
            },
            ..
        }]
    ));
}

#[test]
fn a_truncate_takes_an_ordinal_for_each_relation_known_or_not() {
    let mut decoder = inside_transaction();
    let row = vec![text("1"), TupleValue::Null];
    let frames = [
        encoder::truncate(&[16_400, 5, 16_400]),
        encoder::insert(16_400, &row),
    ];
    let ordinals: Vec<_> = decode_all(&mut decoder, &frames)
        .iter()
        .map(|event| match event {
            StreamEvent::Change(change) => (change.ordinal, true),
            StreamEvent::Undecodable { ordinal, error, .. } => {
                assert!(!error.is_fatal());
                (ordinal.unwrap(), false)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ordinals, [(0, true), (1, false), (2, true), (3, true)]);
}

#[test]
fn an_unreadable_definition_is_not_replaced_by_the_last_one() {
    let mut decoder = inside_transaction();
    let renamed = encoder::relation(&table(2));
    let mut not_utf8 = renamed.to_vec();
    *not_utf8.iter_mut().find(|byte| **byte == b'p').unwrap() = 0xFF;
    let insert = encoder::insert(16_400, &vec![text("1"), text("2")]);
    let events = decode_all(
        &mut decoder,
        &[not_utf8.into(), insert.clone(), renamed, insert],
    );
    let [
        StreamEvent::Undecodable {
            error: of_relation,
            ordinal: None,
            ..
        },
        StreamEvent::Undecodable {
            error: of_change,
            ordinal: Some(0),
            ..
        },
        StreamEvent::Change(change),
    ] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert!(!of_relation.is_fatal() && !of_change.is_fatal());
    assert_eq!(change.ordinal, 1);
}

#[test]
fn a_relation_message_has_no_lsn_so_its_fault_stands_at_the_commit() {
    let mut decoder = inside_transaction();
    let mut events = Vec::new();
    let broken = encoder::relation(&table(2)).slice(..9);
    decoder.decode(Lsn::ZERO, broken, &mut events);
    assert!(matches!(
        events[..],
        [StreamEvent::Undecodable { lsn: Lsn(100), .. }]
    ));
}

#[test]
fn a_domain_reads_as_its_base_type_until_its_oid_is_anothers() {
    let domain = 16_500;
    let mut relation = table(1);
    relation.columns[0].type_oid = domain;
    let type_oid = |types: &[Bytes]| {
        let mut decoder = inside_transaction();
        decode_all(&mut decoder, types);
        let frames = [
            encoder::relation(&relation),
            encoder::insert(16_400, &vec![text("1")]),
        ];
        match &decode_all(&mut decoder, &frames)[..] {
            [StreamEvent::Change(change)] => change.relation.columns[0].type_oid,
            other => panic!("{other:?}"),
        }
    };
    let numeric = encoder::type_name(domain, "", "numeric");
    assert_eq!(type_oid(std::slice::from_ref(&numeric)), 1700);
    assert_eq!(type_oid(&[encoder::type_name(domain, "", "_int4")]), 1007);
    assert_eq!(
        type_oid(&[encoder::type_name(domain, "public", "numeric")]),
        domain
    );
    assert_eq!(
        type_oid(&[numeric, encoder::type_name(domain, "public", "mood")]),
        domain
    );
}

#[test]
fn debug_and_errors_show_no_values() {
    let secret = "s3cret";
    let row = vec![text(secret), text(secret)];
    let good = encoder::change(b'U', 16_400, &[(b'O', &row), (b'N', &row)]);
    let broken = good.slice(..good.len() - 1);
    let events = decode_all(&mut inside_transaction(), &[good]);
    assert!(!format!("{events:?}").contains(secret));
    let StreamEvent::Undecodable { error, .. } =
        &decode_all(&mut inside_transaction(), &[broken])[0]
    else {
        panic!("decoded");
    };
    assert!(!format!("{error:?} {error}").contains(secret));
}
