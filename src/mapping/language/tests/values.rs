//! Values of the table's row, and what `became` and `changed` make of two rows.

use super::*;
use crate::mapping::language::evaluate::{Evaluation, Failure, Operation, Row, write_output};
use crate::mapping::language::program::Version;
use crate::mapping::language::time::Timestamp;

/// An update: the old row differs in some columns; the value of others is not known.
struct Change {
    operation: Operation,
    old: Vec<(&'static str, Option<&'static str>)>,
    unknown: Vec<&'static str>,
}

impl Change {
    fn find(&self, column: usize) -> (&'static str, Option<&'static str>) {
        let columns = columns();
        let (name, _, value) = columns[column].clone();
        (name, value)
    }
}

impl Row for Change {
    fn text(&self, version: Version, column: usize) -> Result<Option<&str>, String> {
        let (name, value) = self.find(column);
        if version != Version::Old {
            return Ok(value);
        }
        if self.operation != Operation::Update {
            return Ok(None);
        }
        if self.unknown.contains(&name) {
            return Err(format!("the old value of `{name}` is not known"));
        }
        let old = self.old.iter().find(|(changed, _)| *changed == name);
        Ok(old.map_or(value, |(_, old)| *old))
    }

    fn changed(&self, column: usize) -> Result<bool, String> {
        let (name, value) = self.find(column);
        if self.unknown.contains(&name) {
            return Err(format!("the old value of `{name}` is not known"));
        }
        let old = self.old.iter().find(|(changed, _)| *changed == name);
        Ok(old.is_some_and(|(_, old)| *old != value))
    }

    fn operation(&self) -> Operation {
        self.operation
    }

    fn committed_at(&self) -> Timestamp {
        Timestamp::parse_literal_tz("2024-02-01 12:00Z").unwrap()
    }
}

fn insert() -> Change {
    Change {
        operation: Operation::Insert,
        old: Vec::new(),
        unknown: Vec::new(),
    }
}

/// The value's text; `None` is null.
fn value(source: &str) -> Result<Option<String>, String> {
    let checked = checked(source).map_err(|error| error.to_string())?;
    let (row, letters) = (insert(), Letters::default());
    let evaluation = Evaluation::new(&row, &letters);
    let value = evaluation
        .value(&checked.node)
        .map_err(|error| error.to_string())?;
    Ok(value.map(|value| {
        let mut text = String::new();
        write_output(&mut text, &value);
        text
    }))
}

fn condition(source: &str, row: &Change) -> Result<Option<bool>, Failure> {
    let checked = checked_condition(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    let letters = Letters::default();
    let evaluation = Evaluation::new(row, &letters);
    evaluation.condition(&checked.node)
}

#[test]
fn conditions_hold_as_on_the_server() {
    for (source, expected) in [
        ("status = 'paid' and total > 100", Some(true)),
        ("state < 'paid' and state in ('draft', 'sent')", Some(true)),
        ("note = 'x'", None),
        ("note is distinct from 'x'", Some(true)),
        ("note = 'x' or active", Some(true)),
        ("note = 'x' and not active", Some(false)),
        ("not (note = 'x')", None),
        ("(note = 'x') is not true", Some(true)),
        ("total = 120.5", Some(true)),
        ("code = 'ab' and code::text = 'ab'", Some(true)),
        ("'vip' = any(tags) and tags @> '{gold}'", Some(true)),
        ("3 = any(numbers)", None),
        ("1 = any(numbers)", Some(true)),
        ("metadata->>'channel' = 'web'", Some(true)),
        ("metadata @> '{\"n\": 5.0}'", Some(true)),
        ("(metadata->>'n')::int between 5 and 6", Some(true)),
        ("metadata->>'absent' is null", Some(true)),
        ("email ilike '%@EXAMPLE.com'", Some(true)),
        ("email like 'ann@%' and email not like '_nn'", Some(true)),
        ("created_at > '2024-01-31 09:59Z'", Some(true)),
        (
            "due > created_at and due - interval '30 days' < created_at",
            Some(true),
        ),
        ("committed_at - created_at > interval '1 day'", Some(true)),
        ("duration = '26 hours'", Some(true)),
        (
            "tenant_id = '019ACB4E-6C5E-7C4F-9A52-5A8C3A4C7D10'",
            Some(true),
        ),
        (
            "tg_op = 'INSERT' and \"order\" = 1 and \"fullName\" is not null",
            Some(true),
        ),
        ("status < 'q' collate \"C\"", Some(true)),
        ("old.status is null and new.status = status", Some(true)),
    ] {
        assert_eq!(condition(source, &insert()), Ok(expected), "{source}");
    }
}

#[test]
fn values_are_written_as_the_server_writes_them() {
    for (source, expected) in [
        ("total * 2", Some("241.00")),
        ("total / 3", Some("40.1666666666666667")),
        ("quantity / 2", Some("1")),
        ("quantity % -2", Some("1")),
        ("price * quantity", Some("4.5")),
        ("round(total)", Some("121")),
        ("upper(status) || '/' || state::text", Some("PAID/sent")),
        ("concat(status, null, quantity)", Some("paid3")),
        (
            "case state when 'sent' then 'yes' else 'no' end",
            Some("yes"),
        ),
        ("coalesce(note, email)", Some("ann@example.com")),
        ("nullif(status, 'paid')", None),
        ("greatest(quantity, null, 10)", Some("10")),
        ("extract(year from due)", Some("2024")),
        ("due + 1", Some("2024-03-01")),
        ("split_part(email, '@', 2)", Some("example.com")),
        ("metadata#>>'{channel}'", Some("web")),
        ("cardinality(tags)", Some("2")),
        ("encode(photo, 'hex')", Some("00ff")),
    ] {
        assert_eq!(value(source), Ok(expected.map(str::to_owned)), "{source}");
    }
}

#[test]
fn errors_of_a_value_are_failures() {
    for source in [
        "quantity / (quantity - 3)",
        "status::int",
        "email::date",
        "quantity + 2147483647",
    ] {
        assert!(value(source).is_err(), "{source}");
    }
    // Of constants, at the start.
    for source in ["1 / 0", "2147483647 + 1", "'x'::int", "date '2024-02-30'"] {
        assert!(checked(source).is_err(), "{source}");
    }
}

#[test]
fn became_compares_the_condition_in_both_rows() {
    let update = |old: &[(&'static str, Option<&'static str>)]| Change {
        operation: Operation::Update,
        old: old.to_vec(),
        unknown: Vec::new(),
    };
    let paid = "became(status = 'paid')";
    assert_eq!(condition(paid, &insert()), Ok(Some(true)));
    assert_eq!(condition(paid, &update(&[])), Ok(Some(false)));
    assert_eq!(
        condition(paid, &update(&[("status", Some("sent"))])),
        Ok(Some(true))
    );
    assert_eq!(
        condition(paid, &update(&[("status", None)])),
        Ok(Some(true))
    );
    assert_eq!(
        condition(paid, &update(&[("total", Some("1"))])),
        Ok(Some(false))
    );
    let above = "became(total > 100)";
    assert_eq!(
        condition(above, &update(&[("total", Some("110"))])),
        Ok(Some(false))
    );
    assert_eq!(
        condition(above, &update(&[("total", Some("100"))])),
        Ok(Some(true))
    );
    let deleted = Change {
        operation: Operation::Delete,
        ..insert()
    };
    assert_eq!(condition(paid, &deleted), Ok(Some(false)));

    let changed = "changed(status, total)";
    assert_eq!(condition(changed, &insert()), Ok(Some(false)));
    assert_eq!(
        condition(changed, &update(&[("total", Some("1"))])),
        Ok(Some(true))
    );
    assert_eq!(
        condition(changed, &update(&[("note", Some("x"))])),
        Ok(Some(false))
    );
    assert_eq!(
        condition(
            "changed(lower(status))",
            &update(&[("status", Some("PAID"))])
        ),
        Ok(Some(false))
    );
}

#[test]
fn what_is_not_known_matters_only_where_nothing_else_decides() {
    let row = Change {
        operation: Operation::Update,
        old: vec![("total", Some("1"))],
        unknown: vec!["status"],
    };
    let unknown = |source: &str| matches!(condition(source, &row), Err(Failure::Unknown(_)));
    assert!(unknown("old.status = 'x'"));
    assert!(unknown("became(status = 'paid')"));
    assert!(unknown("changed(status)"));
    assert!(unknown("old.status = 'x' and active"));
    assert_eq!(
        condition("old.status = 'x' and not active", &row),
        Ok(Some(false))
    );
    assert_eq!(
        condition("old.status = 'x' or active", &row),
        Ok(Some(true))
    );
    assert_eq!(condition("changed(status, total)", &row), Ok(Some(true)));
    assert_eq!(condition("became(status = 'open')", &row), Ok(Some(false)));
}
