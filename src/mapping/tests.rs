//! Rules over rows, from TOML to bytes.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;

use crate::lsn::Lsn;
use crate::pgoutput::{
    Change, Column, OldTuple, Operation, Relation, ReplicaIdentity, TransactionHeader, Tuple,
    TupleValue,
};

use super::file::{DefaultsConfig, RuleConfig, RuleError};
use super::{ColumnDescription, Database, Mapped, Mapper, ParkedReason, RuleSet, TableDescription};

mod any_row;
mod check;
mod explain;
mod previous;
mod unknown;

const INT8: u32 = 20;
const TEXT: u32 = 25;
const NUMERIC: u32 = 1700;
const BOOL: u32 = 16;
const JSONB: u32 = 3802;

/// `name type`, the first being the primary key.
const COLUMNS: &[(&str, u32)] = &[
    ("id", INT8),
    ("tenant_id", TEXT),
    ("status", TEXT),
    ("amount", NUMERIC),
    ("active", BOOL),
    ("metadata", JSONB),
];

fn relation(identity: ReplicaIdentity) -> Arc<Relation> {
    let column = |(at, (name, type_oid)): (usize, &(&str, u32))| Column {
        name: (*name).to_owned(),
        identity: identity == ReplicaIdentity::Full || at == 0,
        type_oid: *type_oid,
        type_modifier: -1,
    };
    Arc::new(Relation {
        oid: 1,
        namespace: "public".to_owned(),
        name: "payments".to_owned(),
        replica_identity: identity,
        columns: COLUMNS.iter().enumerate().map(column).collect(),
    })
}

fn described(identity: ReplicaIdentity) -> TableDescription {
    let column = |(name, type_oid): &(&str, u32)| ColumnDescription {
        generated: *name == "generated",
        ..ColumnDescription::built_in(name, *type_oid)
    };
    TableDescription {
        schema: "public".to_owned(),
        name: "payments".to_owned(),
        columns: COLUMNS
            .iter()
            .chain([&("generated", TEXT)])
            .map(column)
            .collect(),
        primary_key: vec!["id".to_owned()],
        replica_identity: identity,
        identity: match identity {
            ReplicaIdentity::Default | ReplicaIdentity::Index => vec!["id".to_owned()],
            ReplicaIdentity::Full | ReplicaIdentity::Nothing => Vec::new(),
        },
        database: Database::unasked(),
    }
}

/// Values by their text; `~` is null, `?` an unchanged TOAST value.
fn tuple(values: [&'static str; 6]) -> Tuple {
    let value = |value: &&'static str| match *value {
        "~" => TupleValue::Null,
        "?" => TupleValue::UnchangedToast,
        text => TupleValue::Text(Bytes::from_static(text.as_bytes())),
    };
    values.iter().map(value).collect()
}

fn insert(values: [&'static str; 6]) -> Operation {
    Operation::Insert { new: tuple(values) }
}

fn update(old: [&'static str; 6], new: [&'static str; 6]) -> Operation {
    Operation::Update {
        old: Some(OldTuple::Full(tuple(old))),
        new: tuple(new),
    }
}

fn header() -> TransactionHeader {
    TransactionHeader {
        xid: 7,
        commit_lsn: Lsn(0x16B_3748),
        committed_at: "2026-11-23T12:00:00.5Z".parse::<Timestamp>().unwrap(),
    }
}

fn rules(text: &str) -> RuleSet {
    #[derive(Deserialize)]
    struct File {
        events: Vec<RuleConfig>,
    }
    let file: File = toml::from_str(text).unwrap();
    RuleSet::compile(&file.events, &DefaultsConfig::default()).unwrap()
}

/// One rule of type `p.x` on the table, with `lines` of its own.
fn rule(lines: &str) -> RuleSet {
    rules(&format!(
        "[[events]]\nname='r'\ntype='p.x'\ntable='public.payments'\n{lines}"
    ))
}

fn map_with(rules: RuleSet, identity: ReplicaIdentity, operation: Operation) -> Vec<Mapped> {
    rules.check_table(&described(identity));
    let mut mapper = Mapper::new(Arc::new(rules), 42);
    let change = Change {
        relation: relation(identity),
        ordinal: 3,
        operation,
    };
    let mut out = Vec::new();
    mapper.map(&header(), &change, &mut out);
    out
}

fn map(lines: &str, operation: Operation) -> Vec<Mapped> {
    map_with(rule(lines), ReplicaIdentity::Full, operation)
}

/// The body from `data` on.
fn data_of(mapped: &[Mapped]) -> String {
    let [Mapped::Event(event)] = mapped else {
        panic!("expected one event, not {mapped:?}");
    };
    let body = std::str::from_utf8(&event.body).unwrap();
    serde_json::from_str::<serde_json::Value>(body).expect("a body is JSON");
    body[body.find("\"data\":").unwrap()..].to_owned()
}

const PENDING: [&str; 6] = ["1", "acme", "pending", "10.50", "t", "{\"a\":{\"b\":1}}"];
const PAID: [&str; 6] = ["1", "acme", "paid", "10.50", "t", "{\"a\":{\"b\":1}}"];

#[test]
fn the_body_is_the_same_bytes_every_time() {
    let lines = "when=\"became(status = 'paid')\"\n[events.data]\nz='id'\namount='amount'\ncents='amount * 100'\nby='tg_op'\n[events.data.more]\nstate='status'\nb=\"metadata#>'{a,b}'\"\n";
    let mapped = map(lines, update(PENDING, PAID));
    let [Mapped::Event(event)] = mapped.as_slice() else {
        panic!("expected one event, not {mapped:?}");
    };
    let expected = concat!(
        r#"{"id":"evt_01a20846-fff4-7fc0-849e-5ee8e8bea836","type":"p.x","timestamp":"2026-11-23T12:00:00.500000Z","#,
        r#""tenant_id":"acme","sequence":"00000000016B3748-0000000003","#,
        r#""data":{"z":1,"amount":10.50,"cents":1050.00,"by":"UPDATE","more":{"state":"paid","b":1}},"#,
        r#""previous":{"more":{"state":"pending"}}}"#
    );
    let body = std::str::from_utf8(&event.body).unwrap();
    assert_eq!(body, expected);
    assert_eq!(event.row_key, "public.payments:1");
    assert_eq!(&*event.tenant_id, "acme");
    assert_eq!(event.occurred_at, header().committed_at);
}

#[test]
fn a_computed_value_is_written_as_a_column_of_its_type() {
    for (expression, expected) in [
        ("coalesce(amount, 0)", "10.50"),
        ("amount::double precision", "10.5"),
        ("'NaN'::numeric", "\"NaN\""),
        ("coalesce(active, false)", "true"),
        ("active::text", "\"true\""),
        ("metadata->'a'", r#"{"b":1}"#),
        ("metadata#>>'{a,b}'", "\"1\""),
        ("metadata->'x'", "null"),
        ("nullif(status, 'paid')", "null"),
        ("'web'", "\"web\""),
        ("committed_at", "\"2026-11-23T12:00:00.5Z\""),
        ("committed_at::date", "\"2026-11-23\""),
        ("committed_at - committed_at", "\"00:00:00\""),
    ] {
        let lines = format!("[events.data]\nx = '''{expression}'''\n");
        let data = data_of(&map(&lines, insert(PAID)));
        assert_eq!(
            data,
            format!("\"data\":{{\"x\":{expected}}}}}"),
            "{expression}"
        );
    }
}

#[test]
fn conditions_hold_where_they_should() {
    let paid_again = ["1", "acme", "paid", "11", "f", "~"];
    let nulls = ["1", "acme", "~", "~", "~", "~"];
    for (when, operation, expected) in [
        ("became(status = 'paid')", insert(PAID), true),
        ("became(status = 'paid')", insert(PENDING), false),
        ("became(status = 'paid')", update(PENDING, PAID), true),
        ("became(status = 'paid')", update(PAID, paid_again), false),
        ("became(status is null)", update(PAID, nulls), true),
        ("became(amount > 10.6)", update(PAID, paid_again), true),
        ("became(amount > 10)", update(PAID, paid_again), false),
        ("changed(status)", update(PENDING, PAID), true),
        ("changed(status, amount)", update(PAID, paid_again), true),
        ("changed(tenant_id)", update(PAID, paid_again), false),
        ("changed(status)", insert(PAID), false),
        ("changed(status)", insert(nulls), false),
        ("old.status is null", insert(PAID), true),
        (
            "old.status = 'pending' and new.status = 'paid'",
            update(PENDING, PAID),
            true,
        ),
        (
            "amount > 10 and amount < 10.6 and amount = 10.5",
            insert(PAID),
            true,
        ),
        ("amount > 10", insert(nulls), false),
        ("amount < 10 or amount >= 10", insert(nulls), false),
        (
            "amount is null and amount is distinct from 5",
            insert(nulls),
            true,
        ),
        ("active", insert(PAID), true),
        ("not active", insert(paid_again), true),
        ("tg_op = 'UPDATE'", update(PENDING, PAID), true),
        ("tg_op in ('INSERT', 'DELETE')", insert(PAID), true),
        ("status not in ('paid', 'void')", insert(PENDING), true),
        ("(metadata#>>'{a,b}')::int = 1", insert(PAID), true),
        ("metadata->'x'->'y' is null", insert(PAID), true),
        ("amount between 1 and 10.5", insert(PAID), true),
        (
            "upper(status) = 'PAID' and status like '%id'",
            insert(PAID),
            true,
        ),
        (
            "round(amount) = 11 and trunc(amount) = 10",
            insert(PAID),
            true,
        ),
        (
            "status || '/' || amount::text = 'paid/10.50'",
            insert(PAID),
            true,
        ),
        ("coalesce(amount, 5) = 5", insert(nulls), true),
    ] {
        let mapped = map(&format!("when=\"{when}\"\n"), operation);
        assert_eq!(
            matches!(mapped.as_slice(), [Mapped::Event(_)]),
            expected,
            "{when}: {mapped:?}"
        );
        assert!(mapped.len() == usize::from(expected), "{when}: {mapped:?}");
    }
}

#[test]
fn keys_and_tenants_of_other_shapes() {
    let lines = "key=['tenant_id', 'amount']\ntenant={value='one'}\non=['delete']\n";
    let delete = |values| Operation::Delete {
        old: OldTuple::Full(tuple(values)),
    };
    let mapped = map(lines, delete(["1", "a\"b", "x", "~", "t", "~"]));
    let [Mapped::Event(event)] = mapped.as_slice() else {
        panic!("expected one event, not {mapped:?}");
    };
    assert_eq!(event.row_key, r#"public.payments:["a\"b",null]"#);
    assert_eq!(&*event.tenant_id, "one");
    assert!(data_of(&mapped).contains("\"status\":\"x\""));
    // The delete of a table with DEFAULT identity has its key and nothing else.
    let key_only = Operation::Delete {
        old: OldTuple::Key(tuple(["1", "~", "~", "~", "~", "~"])),
    };
    let lines = "tenant={value='one'}\non=['delete']\n";
    let body = data_of(&map_with(rule(lines), ReplicaIdentity::Default, key_only));
    assert_eq!(body, r#""data":{"id":1}}"#);
}

#[test]
fn each_rule_has_its_index_and_a_changed_relation_is_bound_anew() {
    let text = "[[events]]\ntype='other'\ntable='public.other'\n[[events]]\ntype='p.a'\ntable='payments'\n\
                [[events]]\ntype='p.b'\ntable='payments'\nwhen=\"status = 'paid'\"\n";
    let set = rules(text);
    set.check_table(&described(ReplicaIdentity::Full));
    let mut mapper = Mapper::new(Arc::new(set), 42);
    let mut out = Vec::new();
    let mut change = Change {
        relation: relation(ReplicaIdentity::Full),
        ordinal: 0,
        operation: insert(PAID),
    };
    assert!(mapper.watches(&change.relation));
    mapper.map(&header(), &change, &mut out);
    let indexes: Vec<_> = out
        .drain(..)
        .map(|mapped| match mapped {
            Mapped::Event(event) => event.position.rule_index,
            Mapped::Parked(parked) => panic!("{parked:?}"),
        })
        .collect();
    assert_eq!(indexes, [1, 2]);

    let mut renamed = (*change.relation).clone();
    renamed.columns[2].name = "state".to_owned();
    change.relation = Arc::new(renamed);
    mapper.map(&header(), &change, &mut out);
    let [Mapped::Event(_), Mapped::Parked(parked)] = out.as_slice() else {
        panic!("expected an event and a parked change, not {out:?}");
    };
    let detail = &parked.detail;
    assert!(detail.contains("did you mean `state`?"), "{detail}");

    let mut elsewhere = (*change.relation).clone();
    elsewhere.name = "elsewhere".to_owned();
    elsewhere.oid = 2;
    assert!(!mapper.watches(&Arc::new(elsewhere)));
}

#[test]
fn a_truncate_reaches_the_rules_that_ask_for_it() {
    assert!(map("on=['insert', 'update', 'delete']", Operation::Truncate).is_empty());
    let rule = "on=['truncate']\ntenant={value='acme'}\nwhen=\"tg_op = 'TRUNCATE'\"\n[events.data]\nop='tg_op'\nwhy=\"'emptied'\"";
    let mapped = map(rule, Operation::Truncate);
    let [Mapped::Event(event)] = mapped.as_slice() else {
        panic!("expected an event, not {mapped:?}");
    };
    assert_eq!((&*event.tenant_id, event.row_key.as_str()), ("acme", ""));
    let body: serde_json::Value = serde_json::from_slice(&event.body).unwrap();
    assert_eq!(
        body["data"],
        serde_json::json!({"op": "TRUNCATE", "why": "emptied"})
    );
    let mapped = map(
        "on=['truncate']\ntenant={value='acme'}",
        Operation::Truncate,
    );
    let [Mapped::Event(event)] = mapped.as_slice() else {
        panic!("expected an event, not {mapped:?}");
    };
    let body: serde_json::Value = serde_json::from_slice(&event.body).unwrap();
    assert_eq!(body["data"], serde_json::json!({}), "there is no row");
}
