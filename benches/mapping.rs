//! What a change costs to map: unwatched, watched and missed, and made into an event;
//! against a plain writer of the same row's JSON, which knows no rules.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde::Deserialize;
use walhook::lsn::Lsn;
use walhook::mapping::file::{DefaultsConfig, RuleConfig};
use walhook::mapping::{Mapped, Mapper, RuleSet};
use walhook::pgoutput::value::{write_json, write_string};
use walhook::pgoutput::{
    Change, Column, OldTuple, Operation, Relation, ReplicaIdentity, TransactionHeader, Tuple,
    TupleValue,
};

/// Name, type, value: a row of the demo's payments.
const ROW: [(&str, u32, &str); 12] = [
    ("id", 2950, "0198c0de-0000-7000-8000-000000000001"),
    ("tenant_id", 25, "acme"),
    ("invoice_id", 2950, "0198c0de-0000-7000-8000-000000000002"),
    ("customer_email", 25, "ada@example.com"),
    ("amount", 1700, "1234.50"),
    ("currency", 25, "EUR"),
    ("status", 25, "succeeded"),
    ("method", 25, "card"),
    ("metadata", 3802, r#"{"cart": 17, "source": "web"}"#),
    ("created_at", 1184, "2026-11-23 12:00:00.123456+00"),
    ("quantity", 23, "3"),
    ("note", 25, "thank you"),
];

/// Two conditions, and four of which the last decides.
const TWO: &str = "became(status = 'succeeded') and amount > 100";
const FOUR_HIT: &str = "became(status = 'succeeded') and amount > 100 and currency in ('USD', 'EUR') \
    and metadata->>'source' = 'web'";
const FOUR_MISS: &str = "became(status = 'succeeded') and amount > 100 and currency in ('USD', 'EUR') \
    and metadata->>'source' = 'app'";

const STATUS: usize = 6;

fn relation(name: &str) -> Arc<Relation> {
    let columns = ROW.iter().map(|(name, type_oid, _)| Column {
        name: (*name).to_owned(),
        identity: true,
        type_oid: *type_oid,
        type_modifier: -1,
    });
    Arc::new(Relation {
        oid: 1,
        namespace: "public".to_owned(),
        name: name.to_owned(),
        replica_identity: ReplicaIdentity::Full,
        columns: columns.collect(),
    })
}

fn row(status: &'static str) -> Tuple {
    let mut row: Tuple = ROW
        .iter()
        .map(|(_, _, text)| TupleValue::Text(Bytes::from_static(text.as_bytes())))
        .collect();
    row[STATUS] = TupleValue::Text(Bytes::from_static(status.as_bytes()));
    row
}

fn update(relation: &Arc<Relation>, old: &'static str, new: &'static str) -> Change {
    Change {
        relation: Arc::clone(relation),
        ordinal: 3,
        operation: Operation::Update {
            old: Some(OldTuple::Full(row(old))),
            new: row(new),
        },
    }
}

fn mapper(when: &str) -> Mapper {
    #[derive(Deserialize)]
    struct File {
        events: Vec<RuleConfig>,
    }
    let file: File = toml::from_str(&format!(
        r#"
        [[events]]
        type = "payment.received"
        table = "public.payments"
        key = ["id"]
        when = "{when}"
        [events.data]
        payment_id = "id"
        invoice_id = "invoice_id"
        amount = "amount"
        currency = "currency"
        method = "method"
        status = "status"
        customer_email = "customer_email"
        metadata = "metadata"
        created_at = "created_at"
        "#,
    ))
    .expect("the rule is TOML");
    let rules =
        RuleSet::compile(&file.events, &DefaultsConfig::default()).expect("the rule compiles");
    Mapper::new(Arc::new(rules), 42)
}

fn header() -> TransactionHeader {
    TransactionHeader {
        xid: 7,
        commit_lsn: Lsn(0x16B_3748),
        committed_at: "2026-11-23T12:00:00.123456Z".parse().expect("a timestamp"),
    }
}

/// The row's JSON by hand, with the identity and the keys around it left out.
fn plain(out: &mut Vec<u8>, relation: &Relation, row: &Tuple) {
    out.push(b'{');
    for (column, value) in relation.columns.iter().zip(row) {
        if out.len() > 1 {
            out.push(b',');
        }
        write_string(out, &column.name);
        out.push(b':');
        match value {
            TupleValue::Text(text) => write_json(out, column.type_oid, text).expect("a value"),
            TupleValue::Null | TupleValue::UnchangedToast | TupleValue::Omitted { .. } => {
                out.extend_from_slice(b"null")
            }
        }
    }
    out.push(b'}');
}

fn mapping(criterion: &mut Criterion) {
    let header = header();
    let payments = relation("payments");
    let paid = || update(&payments, "pending", "succeeded");
    let elsewhere = update(&relation("elsewhere"), "pending", "succeeded");
    let changes = [
        ("unwatched", TWO, elsewhere, 0),
        ("miss", TWO, update(&payments, "pending", "failed"), 0),
        ("hit", TWO, paid(), 1),
        ("four_conditions_miss", FOUR_MISS, paid(), 0),
        ("four_conditions_hit", FOUR_HIT, paid(), 1),
    ];
    let mut group = criterion.benchmark_group("mapping");
    group.throughput(Throughput::Elements(1));
    for (name, when, change, events) in &changes {
        let mut mapper = mapper(when);
        let mut out: Vec<Mapped> = Vec::new();
        group.bench_function(*name, |bencher| {
            bencher.iter(|| {
                out.clear();
                mapper.map(&header, black_box(change), &mut out);
            });
        });
        assert_eq!(out.len(), *events);
    }
    let row = row("succeeded");
    let mut out = Vec::new();
    group.bench_function("plain_json", |bencher| {
        bencher.iter(|| {
            out.clear();
            plain(&mut out, black_box(&payments), &row);
            Bytes::copy_from_slice(&out)
        });
    });
    group.finish();
}

/// The ratio of a hit to the plain writer, by the best of several rounds on either side.
fn ratio(_: &mut Criterion) {
    const ROUNDS: u32 = 20;
    const CALLS: u32 = 5_000;
    let header = header();
    let payments = relation("payments");
    let change = update(&payments, "pending", "succeeded");
    let row = row("succeeded");
    let best = |call: &mut dyn FnMut()| {
        let rounds = (0..ROUNDS).map(|_| {
            let began = Instant::now();
            (0..CALLS).for_each(|_| call());
            began.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
        });
        rounds.fold(f64::INFINITY, f64::min)
    };
    let mut mapper = mapper(TWO);
    let mut mapped = Vec::new();
    let hit = best(&mut || {
        mapped.clear();
        mapper.map(&header, black_box(&change), &mut mapped);
    });
    let mut out = Vec::new();
    let plain = best(&mut || {
        out.clear();
        plain(&mut out, black_box(&payments), &row);
        black_box(Bytes::copy_from_slice(&out));
    });
    println!(
        "mapping: {hit:.0} ns a hit, {plain:.0} ns plain JSON: ratio {:.2}",
        hit / plain
    );
}

criterion_group!(benches, mapping, ratio);
criterion_main!(benches);
