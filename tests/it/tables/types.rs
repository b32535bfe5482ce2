//! Every built-in type with its extremes, and types of the application's own: what comes
//! of them in an event's `data`, byte for byte.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::harness::TestDatabase;
use crate::harness::walhook::Installation;

/// A type, a value as SQL, and the JSON of it.
type Case = (&'static str, &'static str, &'static str);

const CASES: &[Case] = &[
    // Numbers keep every digit; what JSON has no number for is a string.
    ("smallint", "-32768", "-32768"),
    ("integer", "2147483647", "2147483647"),
    ("bigint", "-9223372036854775808", "-9223372036854775808"),
    ("numeric", "'NaN'", "\"NaN\""),
    ("numeric", "'Infinity'", "\"Infinity\""),
    ("numeric", "'-Infinity'", "\"-Infinity\""),
    (
        "numeric(20, 4)",
        "1234567890123456.5000",
        "1234567890123456.5000",
    ),
    ("numeric", "0.000", "0.000"),
    ("real", "1e-45", "1e-45"),
    ("real", "'NaN'", "\"NaN\""),
    (
        "double precision",
        "1.7976931348623157e308",
        "1.7976931348623157e+308",
    ),
    ("double precision", "0.1", "0.1"),
    ("double precision", "'-0'", "-0"),
    ("double precision", "'-Infinity'", "\"-Infinity\""),
    ("oid", "4294967295", "4294967295"),
    (
        "money",
        "'-92233720368547758.08'",
        "\"-$92,233,720,368,547,758.08\"",
    ),
    ("boolean", "true", "true"),
    ("boolean", "null", "null"),
    // Text.
    ("text", "''", "\"\""),
    (
        "text",
        "e'quote \" back\\\\slash tab\\t bell\\007 \u{2028} 👍'",
        "\"quote \\\" back\\\\slash tab\\t bell\\u0007 \u{2028} 👍\"",
    ),
    ("varchar(5)", "'ab '", "\"ab \""),
    ("char(5)", "'ab'", "\"ab   \""),
    ("\"char\"", "'x'", "\"x\""),
    ("name", "'a name'", "\"a name\""),
    (
        "uuid",
        "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'",
        "\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\"",
    ),
    ("bytea", "'\\x00ff10'", "\"AP8Q\""),
    ("bytea", "''", "\"\""),
    (
        "xml",
        "'<a b=\"c\">&amp;</a>'",
        "\"<a b=\\\"c\\\">&amp;</a>\"",
    ),
    // Dates and times: RFC 3339 within its years, else as PostgreSQL writes them.
    ("date", "'2026-11-23'", "\"2026-11-23\""),
    ("date", "'4713-01-01 BC'", "\"4713-01-01 BC\""),
    ("date", "'5874897-12-31'", "\"5874897-12-31\""),
    ("date", "'-infinity'", "\"-infinity\""),
    (
        "timestamp",
        "'294276-12-31 23:59:59.999999'",
        "\"294276-12-31 23:59:59.999999\"",
    ),
    (
        "timestamp",
        "'2026-11-23 12:00:00.5'",
        "\"2026-11-23T12:00:00.5\"",
    ),
    (
        "timestamptz",
        "'2026-11-23 12:00:00+05:30'",
        "\"2026-11-23T06:30:00Z\"",
    ),
    (
        "timestamptz",
        "'4713-01-01 00:00:00+00 BC'",
        "\"4713-01-01 00:00:00+00 BC\"",
    ),
    (
        "timestamptz",
        "'294276-12-31 23:59:59.999999+00'",
        "\"294276-12-31 23:59:59.999999+00\"",
    ),
    ("timestamptz", "'infinity'", "\"infinity\""),
    ("time", "'24:00:00'", "\"24:00:00\""),
    (
        "timetz",
        "'12:00:00.000001+05:30'",
        "\"12:00:00.000001+05:30\"",
    ),
    ("interval", "'-178000000 years'", "\"-178000000 years\""),
    (
        "interval",
        "'1 mon -2 days 03:04:05.000006'",
        "\"1 mon -2 days +03:04:05.000006\"",
    ),
    // JSON is embedded, as it is.
    (
        "json",
        "'{\"b\" : 1.50, \"a\": [1e400, \"\\u0000\"] }'",
        "{\"b\" : 1.50, \"a\": [1e400, \"\\u0000\"] }",
    ),
    (
        "jsonb",
        "'{\"big\": 123456789012345678901234567890.123456789, \"n\": null}'",
        "{\"n\": null, \"big\": 123456789012345678901234567890.123456789}",
    ),
    ("jsonb", "'\"text\"'", "\"text\""),
    ("jsonpath", "'$.a[*]'", "\"$.\\\"a\\\"[*]\""),
    // Everything else is a string, as PostgreSQL writes it.
    ("bit(4)", "b'1010'", "\"1010\""),
    ("varbit", "b''", "\"\""),
    ("inet", "'2001:db8::1/64'", "\"2001:db8::1/64\""),
    ("cidr", "'10.0.0.0/8'", "\"10.0.0.0/8\""),
    ("macaddr", "'08:00:2b:01:02:03'", "\"08:00:2b:01:02:03\""),
    (
        "macaddr8",
        "'08:00:2b:01:02:03:04:05'",
        "\"08:00:2b:01:02:03:04:05\"",
    ),
    ("point", "'(1.5,-2)'", "\"(1.5,-2)\""),
    ("line", "'{1,2,3}'", "\"{1,2,3}\""),
    ("lseg", "'[(0,0),(1,1)]'", "\"[(0,0),(1,1)]\""),
    ("box", "'(1,1),(0,0)'", "\"(1,1),(0,0)\""),
    ("path", "'[(0,0),(1,1)]'", "\"[(0,0),(1,1)]\""),
    ("polygon", "'((0,0),(1,1))'", "\"((0,0),(1,1))\""),
    ("circle", "'<(0,0),Infinity>'", "\"<(0,0),Infinity>\""),
    ("pg_lsn", "'16/B374D848'", "\"16/B374D848\""),
    ("xid8", "'18446744073709551615'", "\"18446744073709551615\""),
    ("tsvector", "'fat:2,4 cat:3'", "\"'cat':3 'fat':2,4\""),
    ("tsquery", "'fat & !rat'", "\"'fat' & !'rat'\""),
    ("regclass", "'pg_class'", "\"pg_class\""),
    ("int4range", "'[1,5)'", "\"[1,5)\""),
    ("numrange", "'empty'", "\"empty\""),
    (
        "tstzrange",
        "'[2026-01-01 00:00+00,)'",
        "\"[\\\"2026-01-01 00:00:00+00\\\",)\"",
    ),
    ("int8multirange", "'{[1,2),[5,)}'", "\"{[1,2),[5,)}\""),
    // Arrays of built-in types are JSON arrays of their elements.
    ("int[]", "'{{1,NULL},{3,4}}'", "[[1,null],[3,4]]"),
    ("int[]", "'[0:1][-1:0]={{1,2},{3,4}}'", "[[1,2],[3,4]]"),
    ("int[]", "'{}'", "[]"),
    (
        "text[]",
        "array['NULL', null, 'a,b', '{\"q\"}', 'back\\slash', '']",
        "[\"NULL\",null,\"a,b\",\"{\\\"q\\\"}\",\"back\\\\slash\",\"\"]",
    ),
    ("numeric[]", "'{NaN,1.50}'", "[\"NaN\",1.50]"),
    ("jsonb[]", "array['{\"a\": [1]}'::jsonb]", "[{\"a\": [1]}]"),
    (
        "timestamptz[]",
        "array['2026-11-23 12:00:00+00'::timestamptz, 'infinity']",
        "[\"2026-11-23T12:00:00Z\",\"infinity\"]",
    ),
    ("bytea[]", "array['\\x00ff'::bytea]", "[\"AP8=\"]"),
    ("boolean[]", "'{t,f,NULL}'", "[true,false,null]"),
    (
        "box[]",
        "'{(1,1),(0,0);(2,2),(1,1)}'",
        "\"{(1,1),(0,0);(2,2),(1,1)}\"",
    ),
    ("int4range[]", "array['[1,5)'::int4range]", "[\"[1,5)\"]"),
    ("int2vector", "'1 2'", "\"1 2\""),
    // Of the application's own: a domain is what it is over, the rest are strings.
    ("mood", "'so \"so\"'", "\"so \\\"so\\\"\""),
    (
        "mood[]",
        "array['ok', 'so \"so\"']::mood[]",
        "\"{ok,\\\"so \\\\\\\"so\\\\\\\"\\\"}\"",
    ),
    ("positive", "1.50", "1.50"),
    ("very_positive", "2.50", "2.50"),
    ("ids", "'{1,2}'", "[1,2]"),
    ("document", "'{\"a\": 1.0}'", "{\"a\": 1.0}"),
    (
        "pair",
        "row(1, 'a \"b\"')",
        "\"(1,\\\"a \\\"\\\"b\\\"\\\"\\\")\"",
    ),
    ("pair[]", "array[row(1, 'a')::pair]", "\"{\\\"(1,a)\\\"}\""),
    ("floatrange", "'[1.5,2.5)'", "\"[1.5,2.5)\""),
];

const OWN_TYPES: &str = "create type mood as enum ('ok', 'so \"so\"');
    create domain positive as numeric check (value > 0);
    create domain very_positive as positive check (value > 1);
    create domain ids as int[];
    create domain document as jsonb;
    create type pair as (a int, b text);
    create type floatrange as range (subtype = float8)";

fn column(number: usize) -> String {
    format!("c{number}")
}

#[tokio::test]
async fn every_type_and_extreme_comes_out_as_documented() {
    // `xid8` and multiranges are in every supported version.
    let columns: Vec<_> = CASES
        .iter()
        .enumerate()
        .map(|(number, (kind, _, _))| format!("{} {kind}", column(number)))
        .collect();
    let tables = format!(
        "{OWN_TYPES}; create table everything (id int primary key, tenant_id text, {})",
        columns.join(", ")
    );
    let rules = "[[events]]\ntype = 'everything'\ntable = 'public.everything'\n";
    let walhook = Installation::create(&tables, rules, "").await;
    let client = &walhook.database.client;
    // Whatever the application's role or database prefers.
    client
        .batch_execute(&format!(
            "alter database {} set datestyle = 'German'; alter database {0} set timezone = 'Asia/Kolkata';
             alter database {0} set bytea_output = 'escape'; alter database {0} set intervalstyle = 'sql_standard';
             alter database {0} set extra_float_digits = 0",
            walhook.database.name
        ))
        .await
        .unwrap();
    let values: Vec<_> = CASES
        .iter()
        .map(|(kind, value, _)| format!("({value})::{kind}"))
        .collect();
    client
        .batch_execute(&format!(
            "insert into everything values (1, 'acme', {})",
            values.join(", ")
        ))
        .await
        .unwrap();
    let running = walhook.start();
    walhook
        .wait_for("select (select count(*) from webhook_events) + (select count(*) from parked_changes) = 1")
        .await;
    running.stop().await;
    let client = walhook.store.get().await.unwrap();
    let body: String = client
        .query_one("select convert_from(body, 'UTF8') from webhook_events", &[])
        .await
        .unwrap()
        .get(0);
    #[derive(serde::Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        data: BTreeMap<String, &'a RawValue>,
    }
    let body: Body<'_> = serde_json::from_str(&body).unwrap();
    let wrong: Vec<_> = CASES
        .iter()
        .enumerate()
        .map(|(number, (kind, _, expected))| (*kind, body.data[&column(number)].get(), *expected))
        .filter(|(_, found, expected)| found != expected)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn the_longest_numeric_keeps_every_digit() {
    let tables = "create table numbers (id int primary key, tenant_id text, n numeric)";
    let rules = "[[events]]\ntype = 'number'\ntable = 'public.numbers'\nwhen = 'n > 1'\n";
    let walhook = Installation::create(tables, rules, "").await;
    let running = walhook.start();
    let digits = format!("{}.{}", "9".repeat(131_072), "9".repeat(16_383));
    walhook
        .database
        .client
        .batch_execute(&format!("insert into numbers values (1, 'acme', {digits})"))
        .await
        .unwrap();
    walhook
        .wait_for(&format!(
            "select count(*) = 1 from webhook_events where convert_from(body, 'UTF8') like '%\"n\":{digits}}}}}'"
        ))
        .await;
    running.stop().await;
}

/// The stream names a domain's base type without its oid where that is not built in.
#[tokio::test]
async fn a_domain_is_compared_as_the_type_beneath_it() {
    let tables = "create type mood as enum ('draft', 'sent', 'paid');
                  create domain state as mood;
                  create domain cents as bigint;
                  create table bills (id int primary key, tenant_id text, state state,
                                      cents cents, past mood[])";
    let rule = |name: &str, when: &str| {
        format!("[[events]]\ntype = '{name}'\ntable = 'public.bills'\nwhen = \"{when}\"\n")
    };
    let rules = [
        rule("of.enum", "state >= 'sent'"),
        rule("of.bigint", "cents / 2 = 50"),
        rule("of.array", "'draft' = any(past)"),
    ];
    let walhook = Installation::create(tables, &rules.concat(), "").await;
    let running = walhook.start();
    let row = "insert into bills values (1, 'acme', 'paid', 101, '{draft}'), (2, 'acme', 'draft', 1, '{}')";
    walhook.database.client.batch_execute(row).await.unwrap();
    walhook
        .wait_for("select count(*) = 3 from webhook_events")
        .await;
    running.stop().await;
    let parked = walhook.count("select count(*) from parked_changes").await;
    assert_eq!(parked, 0);
}

/// Before 18 the WAL leaves them out, and a rule that names one is refused with the reason
/// (see `mapping`); a rule for the whole row has the rest.
#[tokio::test]
async fn generated_columns_do_not_disturb_the_others() {
    let tables = "create table boxes (id int primary key, tenant_id text, a int, \
                  twice int generated always as (a * 2) stored, b int)";
    let rules = "[[events]]\ntype = 'box'\ntable = 'public.boxes'\n";
    let walhook = Installation::create(tables, rules, "").await;
    let running = walhook.start();
    walhook
        .database
        .client
        .batch_execute("insert into boxes (id, tenant_id, a, b) values (1, 'acme', 2, 3)")
        .await
        .unwrap();
    walhook
        .wait_for("select count(*) = 1 from webhook_events where convert_from(body, 'UTF8') like '%\"data\":{\"id\":1,\"tenant_id\":\"acme\",\"a\":2,\"b\":3}}'")
        .await;
    running.stop().await;
}

/// LATIN1 has an equivalent in UTF-8 for all that it holds. What has none: see `gaps`.
#[tokio::test]
async fn another_encoding_of_the_source_is_converted() {
    let source = TestDatabase::create_encoded("LATIN1").await;
    let store = TestDatabase::create().await;
    let settings = format!("[store]\nurl = '{}'\n", store.url);
    let tables = "create table words (id int primary key, tenant_id text, word text)";
    let rules = "[[events]]\ntype = 'word'\ntable = 'public.words'\n";
    let walhook = Installation::create_in(source, tables, rules, &settings).await;
    let running = walhook.start();
    walhook
        .database
        .client
        .batch_execute("insert into words values (1, 'acme', 'Größe äÿ\u{80}')")
        .await
        .unwrap();
    walhook
        .wait_for("select count(*) = 1 from webhook_events where convert_from(body, 'UTF8') like '%\"word\":\"Größe äÿ\u{80}\"%'")
        .await;
    running.stop().await;
}
