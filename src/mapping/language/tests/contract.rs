//! Sentences of the contract that no other test shows: what is taken and with which type,
//! and what is refused.

use super::*;

/// The piece of the message that counts; empty where it is taken.
pub(super) fn expect(cases: &[(&str, &str)], check: impl Fn(&str) -> Result<Checked>) {
    let mut wrong = Vec::new();
    for (source, piece) in cases {
        match check(source) {
            Ok(_) if piece.is_empty() => {}
            Ok(checked) => wrong.push(format!("{source}\n    is {}, not: {piece}", checked.r#type)),
            Err(error) if !piece.is_empty() && error.message.contains(piece) => {}
            Err(error) => wrong.push(format!("{source}\n    {}\n    not: {piece}", error.message)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn types_come_out_as_the_server_has_them() {
    for (source, expected) in [
        ("1", "integer"),
        ("3000000000", "bigint"),
        ("1.5", "numeric"),
        ("1e3", "numeric"),
        ("quantity / 2", "integer"),
        ("quantity + id", "bigint"),
        ("quantity + total", "numeric"),
        ("rate + rate", "real"),
        ("rate + total", "double precision"),
        ("ceil(quantity)", "double precision"),
        ("round(total, 2)", "numeric"),
        ("updated_at - updated_at", "interval"),
        ("due - due", "integer"),
        ("due + 1", "date"),
        ("due + interval '1 day'", "timestamp"),
        ("date_trunc('month', due)", "timestamptz"),
        ("date_trunc('month', updated_at)", "timestamp"),
        ("extract(year from due)", "numeric"),
        ("metadata -> 'a'", "jsonb"),
        ("payload -> 'a'", "json"),
        ("metadata ->> 'a'", "text"),
        ("cardinality(tags)", "integer"),
        ("coalesce(note, 'x')", "text"),
        (
            "case when active then due else created_at end",
            "timestamptz",
        ),
        ("greatest(quantity, total)", "numeric"),
        ("concat(status, 1)", "text"),
        ("email", "varchar"),
        ("'x'", "text"),
        ("photo", "bytea"),
        ("changed(place)", "boolean"),
    ] {
        let checked = checked(source).map(|checked| checked.r#type.to_string());
        let checked = checked.map_err(|error| error.message);
        assert_eq!(checked.as_deref(), Ok(expected), "{source}");
    }
}

#[test]
fn what_is_said_of_each_type_is_taken_or_refused() {
    let cases = [
        // tokens
        ("status = B'1'", "without `B`"),
        ("status = X'1f'", "without `X`"),
        ("quantity!=-1", "write a space"),
        ("status||-1 = 'x'", "write a space"),
        ("quantity>-1 and quantity<-1 or quantity=-1", ""),
        // names
        ("new.order > 1 and new.\"order\" > old.order", ""),
        ("left > 1", "left"),
        ("NEW.Status = 'x' and Status = 'x'", ""),
        // numbers
        ("rate % 2 = 1", "`%` is for integers and numeric"),
        ("round(rate, 2) = 1", "write round(rate::numeric, 2)"),
        ("trunc(price, 2) = 1", "write trunc(price::numeric, 2)"),
        ("quantity in (1, 2.5, 3000000000)", ""),
        ("rate in (1.5)", "cast one of them"),
        ("rate between 1.5 and 2", "cast one of them"),
        ("coalesce(rate, 1.5) = 1", "cast one of them"),
        ("nullif(rate, total) = 1", "cast one of them"),
        ("greatest(rate, total) = 1", "cast one of them"),
        (
            "case when active then rate else total end = 1",
            "cast one of them",
        ),
        ("rate > 1.5 and rate = total", ""),
        // char(n)
        ("code in ('a', 'b')", ""),
        ("code in (note::text)", "constants"),
        ("code between 'a' and 'b'", "collate"),
        ("coalesce(code, note) = 'a'", "cast one of them"),
        ("nullif(code, note) = 'a'", "cast one of them"),
        (
            "case when active then code else email end = 'a'",
            "cast one of them",
        ),
        ("code ilike 'a%'", "write code::text"),
        ("concat(code, 'a') = 'a'", "write code::text"),
        ("code = note and code = email and code = 'a '", ""),
        // texts
        (
            "status between 'a' and 'b' collate \"C\"",
            "after the value before `between`",
        ),
        ("status collate \"C\" between 'a' and 'b'", ""),
        ("lower(status) collate \"C\" > 'b'", ""),
        ("status like 'a\\%b\\\\'", ""),
        ("status like 'a' || '%'", "write 'begin%'"),
        // times
        ("created_at > '2024-01-31' and created_at > '20240131'", ""),
        ("created_at > '2024-01-31T10:00:00.5+05:30'", ""),
        (
            "created_at > '2024-01-31 10:00Z' and created_at < 'infinity'",
            "",
        ),
        (
            "due > '12024-01-31' and due > '0044-03-15 BC' and due > '-infinity'",
            "",
        ),
        ("due > '2024-01-31T10:00'", "cast"),
        ("updated_at > '2024-01-31 10:00+01'", "cast"),
        (
            "due > created_at and updated_at < created_at and due <> updated_at",
            "",
        ),
        ("due + '1 day' = due", "write interval '1 day'"),
        ("due - '2024-01-01' > 5", "date '2024-01-01'"),
        (
            "duration > '-02:30' and duration > '02:30:10' and duration < '1 mon 2 days 03:00'",
            "",
        ),
        ("duration > 'infinity'", "infinite"),
        ("duration > interval '1 day' * 2", "write the span itself"),
        ("interval '1' hour > duration", "write interval '1 hour'"),
        ("extract(epoch from duration) > 5", ""),
        ("extract(minute from due) = 5", "a date has no time of day"),
        (
            "created_at::timestamp > updated_at::timestamptz and due::timestamptz > created_at",
            "",
        ),
        // json
        ("metadata = '{\"a\": 1}' and metadata <> '1'", ""),
        ("metadata > '1'", "have no order"),
        (
            "payload is not distinct from payload",
            "json has no equality",
        ),
        ("payload <> '{}'", "json has no equality"),
        ("payload->>'a' = 'x' and payload#>>'{a,b}' = 'x'", ""),
        ("nullif(payload, payload) is null", "json"),
        ("coalesce(payload, '{}') is null", ""),
        ("greatest(metadata, metadata) is null", "order"),
        ("greatest(photo, photo) is null", "order"),
        // arrays
        (
            "numbers && '{1,2}' and numbers <@ '{1,2}' and numbers = '{}'",
            "",
        ),
        ("tags > '{a}'", "have no order"),
        ("cardinality(tags) = 2 and array['a'] = tags", "write '{a}'"),
        // any other type
        ("place is null and changed(place)", ""),
        ("place in ('(1,2)')", "point has none"),
        (
            "coalesce(place, '(1,2)') is null",
            "compared with null only",
        ),
        ("coalesce(place, place) is null", ""),
        ("became(place is null)", ""),
        ("changed(coalesce(payload, '{}'))", "no equality"),
        // bytea
        (
            "photo = '\\x00' and length(photo) > 1 and encode(photo, 'base64') <> ''",
            "",
        ),
        ("encode(photo, 'escape') = 'x'", "'hex' or 'base64'"),
        ("photo || photo = '\\x00'", "texts"),
        // literals and constants
        ("quantity = '5' and total > '5.5' and active = 'yes'", ""),
        ("quantity > 2147483647 + 1", "has no value"),
        ("active and 1 / 0 = 1", "has no value"),
        ("case when active then 1 / 0 else 1 end = 1", "has no value"),
        ("active or 'x'::text::int = 1", "has no value"),
        ("due > 'x'::text::date", "has no value"),
        (
            "quantity = active",
            "`quantity` is of type integer and `active` of type boolean",
        ),
        ("tenant_id = id", "bigint"),
        ("status::char(3) = 'abc'", "char"),
        // became and changed
        ("became(committed_at > due)", ""),
        (
            "became(quantity > 1 or note is null) and not became(active)",
            "",
        ),
        ("changed(lower(status), total * 2, place)", ""),
        ("changed(old.status)", "write status"),
        ("became(changed(status))", "beside"),
        ("changed(1)", "never changes"),
        ("changed(concat('a'))", "never changes"),
        ("changed(committed_at)", ""),
    ];
    expect(&cases, checked);
}

/// A table that has a column `tg_op`, `committed_at`, `new` or `old`.
#[test]
fn a_column_of_a_name_of_the_language_is_asked_for_by_new() {
    let of = |names: &[&str], source: &str| {
        let columns: Vec<Column> = names
            .iter()
            .map(|name| Column {
                name: (*name).to_owned(),
                r#type: Type::Text,
                type_name: "text".to_owned(),
                collation: Collation::Default,
            })
            .collect();
        let letters = Letters::default();
        let scope = Scope {
            table: "public.t",
            columns: &columns,
            members: None,
            encoding: Encoding::Utf8,
            letters: &letters,
        };
        check(source, &parse(source)?, &scope)
    };
    let names = ["tg_op", "committed_at", "new", "old", "a"];
    let cases = [
        ("tg_op = 'INSERT'", "write new.tg_op"),
        ("committed_at = 'x'", "write new.committed_at"),
        (
            "new.tg_op = 'x' and old.committed_at = 'x' and new.a = 'b'",
            "",
        ),
        ("new.new = 'x' and old.old = 'x'", ""),
        ("\"tg_op\" = 'x'", ""),
    ];
    expect(&cases, |source| of(&names, source));
}

#[test]
fn members_of_an_event_are_of_the_kind_that_they_meet() {
    let cases = [
        ("data.n > 5 and data.t = 'x' and data.b", ""),
        ("data.t < 'x'", "collate"),
        ("timestamp > '2024-01-31'", "collate"),
        (
            "timestamp::timestamptz > '2024-01-31' and data.t collate \"C\" < 'b'",
            "",
        ),
        ("data.n > '5'", "collate"),
        ("data.a < data.b", "no order"),
        ("data.a = data.b", ""),
        ("previous ? 'status' and backfill is null", ""),
        ("changed(data.status)", "previous ? 'name'"),
        ("became(data.status = 'x')", "previous ? 'name'"),
        ("new.status = 'x'", "data.name"),
        ("tg_op = 'INSERT'", "write type"),
        ("status = 'x'", "data.status"),
        ("data.\"order-id\" = 'x' and data.order = 'x'", ""),
        ("'vip' = any(data.tags)", ""),
    ];
    let letters = Letters::unicode();
    expect(&cases, |source| {
        let scope = Scope {
            table: "",
            columns: &[],
            members: Some(crate::mapping::language::check::Members {
                names: &["type", "timestamp", "backfill", "data", "previous"],
                data: None,
            }),
            encoding: Encoding::Utf8,
            letters: &letters,
        };
        check_condition(source, &parse(source)?, &scope)
    });
}
