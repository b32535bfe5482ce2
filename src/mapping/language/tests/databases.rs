//! What the contract says of databases with another encoding and of columns with a
//! collation of their own.

use super::contract::expect;
use super::*;

/// Checks over another database: its encoding, and a collation of `status`.
fn checked_in(encoding: Encoding, collation: Collation, source: &str) -> Result<Checked> {
    let columns: Vec<Column> = columns()
        .into_iter()
        .map(|(name, r#type, _)| Column {
            name: name.to_owned(),
            type_name: r#type.to_string(),
            r#type,
            collation: match name {
                "status" => collation.clone(),
                _ => Collation::Default,
            },
        })
        .collect();
    let letters = Letters::default();
    let scope = Scope {
        table: "public.orders",
        columns: &columns,
        members: None,
        encoding,
        letters: &letters,
    };
    check(source, &parse(source)?, &scope)
}

#[test]
fn databases_of_other_encodings_have_less() {
    let texts = [
        (
            "status = 'a' and status <> 'b' and status in ('a', 'b') and note is null",
            "",
        ),
        ("status is distinct from note", ""),
        (
            "coalesce(status, note, 'x') = case when active then status end",
            "",
        ),
        (
            "total > 5 and quantity::text = '5' and status::integer = 5",
            "",
        ),
        ("metadata->>'a' = 'x' and metadata ? 'a'", ""),
        ("status collate \"C\" < 'b'", "UTF8 or LATIN1"),
        ("status like 'a%'", "SQL_ASCII"),
        ("status ilike 'a%'", "SQL_ASCII"),
        ("lower(status) = 'a'", "SQL_ASCII"),
        ("length(status) = 1", "SQL_ASCII"),
        ("status || 'a' = 'b'", "SQL_ASCII"),
        ("concat(status, 1) = 'b'", "SQL_ASCII"),
        ("substring(status from 1) = 'b'", "SQL_ASCII"),
        ("trim(status) = 'b'", "SQL_ASCII"),
        ("status::jsonb = '1'", "SQL_ASCII"),
        ("status = 'ä'", "cannot hold `ä`"),
    ];
    expect(&texts, |source| {
        checked_in(Encoding::SqlAscii, Collation::Default, source)
    });
    let latin1 = [
        (
            "status = 'ä' and status collate \"C\" < 'ß' and lower(status) = 'ä'",
            "",
        ),
        ("status = '€'", "cannot hold `€`"),
        ("status like '%Ω'", "cannot hold `Ω`"),
        ("metadata = '\"\\u20ac\"'", "cannot hold `€`"),
        ("tags = '{€}'", "cannot hold `€`"),
    ];
    expect(&latin1, |source| {
        checked_in(Encoding::Latin1, Collation::Default, source)
    });
    let other = [
        (
            "status = 'a' and status like 'a%' and length(status) = 1",
            "",
        ),
        ("status collate \"C\" < 'b'", "UTF8 or LATIN1"),
    ];
    expect(&other, |source| {
        checked_in(Encoding::Other, Collation::Default, source)
    });
}

#[test]
fn a_collation_of_the_columns_own_limits_what_is_said_of_it() {
    let german = [
        (
            "status = 'a' and status like 'a%' and status collate \"C\" < 'b'",
            "",
        ),
        ("lower(status) = 'a'", "collation"),
        ("upper(status || 'x') = 'a'", "collation"),
        ("status ilike 'a%'", "collation"),
        ("length(status) = 1 and lower(note) = 'x'", ""),
    ];
    expect(&german, |source| {
        checked_in(Encoding::Utf8, Collation::Other("de_DE".to_owned()), source)
    });
    let bytes = [(
        "lower(status) = 'a' and status ilike 'a%' and status = note",
        "",
    )];
    expect(&bytes, |source| {
        checked_in(Encoding::Utf8, Collation::Bytes("C".to_owned()), source)
    });
    let insensitive = [
        ("status is null and changed(status)", ""),
        ("status = 'a'", "nondeterministic"),
        ("status in ('a')", "nondeterministic"),
        ("status like 'a'", "nondeterministic"),
        ("status || 'x' = 'y'", "nondeterministic"),
        ("length(status) = 1", "nondeterministic"),
        ("status is distinct from 'a'", "nondeterministic"),
        ("became(status is null)", ""),
    ];
    expect(&insensitive, |source| {
        checked_in(
            Encoding::Utf8,
            Collation::Nondeterministic("ci".to_owned()),
            source,
        )
    });
}
