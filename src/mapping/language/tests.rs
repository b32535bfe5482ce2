//! The language over a table that has a column of every kind.

use std::sync::Arc;

use super::check::{Checked, Scope, check, check_condition};
use super::error::Result;
use super::letters::Letters;
use super::parse::parse;
use super::types::{Collation, Column, Encoding, EnumType, Type};

mod contract;
mod databases;
mod parser;
mod properties;
mod slips;
mod values;

/// The table of the tests: name, type and the value of the row that [`values`] asks.
fn columns() -> Vec<(&'static str, Type, Option<&'static str>)> {
    let array = |of| Type::Array(Box::new(of));
    let state = Type::Enum(Arc::new(EnumType {
        name: "order_state".to_owned(),
        labels: ["draft", "sent", "paid", "shipped"]
            .map(str::to_owned)
            .to_vec(),
    }));
    vec![
        ("id", Type::Int8, Some("7")),
        ("status", Type::Text, Some("paid")),
        ("state", state, Some("sent")),
        ("total", Type::Numeric, Some("120.50")),
        ("quantity", Type::Int4, Some("3")),
        ("price", Type::Float8, Some("1.5")),
        ("rate", Type::Float4, Some("0.25")),
        ("tags", array(Type::Text), Some("{vip,gold}")),
        ("numbers", array(Type::Int4), Some("{1,2,NULL}")),
        (
            "metadata",
            Type::Jsonb,
            Some(r#"{"n": 5, "channel": "web"}"#),
        ),
        ("payload", Type::Json, Some(r#"{"a":1}"#)),
        ("email", Type::Varchar, Some("ann@example.com")),
        (
            "created_at",
            Type::Timestamptz,
            Some("2024-01-31 10:00:00+00"),
        ),
        ("updated_at", Type::Timestamp, Some("2024-02-01 00:00:00")),
        ("deleted_at", Type::Timestamptz, None),
        ("due", Type::Date, Some("2024-02-29")),
        ("active", Type::Bool, Some("t")),
        ("paid", Type::Bool, Some("f")),
        ("code", Type::Char, Some("ab  ")),
        ("fullName", Type::Text, Some("Ann Lee")),
        ("order", Type::Int4, Some("1")),
        (
            "tenant_id",
            Type::Uuid,
            Some("019acb4e-6c5e-7c4f-9a52-5a8c3a4c7d10"),
        ),
        ("customer_id", Type::Int8, Some("9")),
        ("note", Type::Text, None),
        ("duration", Type::Interval, Some("1 day 02:00:00")),
        ("photo", Type::Bytea, Some("\\x00ff")),
        ("place", Type::Opaque("point".into()), Some("(1,2)")),
    ]
}

fn with_scope<T>(run: impl FnOnce(&Scope<'_>) -> T) -> T {
    let columns: Vec<Column> = columns()
        .into_iter()
        .map(|(name, r#type, _)| Column {
            name: name.to_owned(),
            type_name: r#type.to_string(),
            r#type,
            collation: Collation::Default,
        })
        .collect();
    let letters = Letters::default();
    run(&Scope {
        table: "public.orders",
        columns: &columns,
        members: None,
        encoding: Encoding::Utf8,
        letters: &letters,
    })
}

fn checked(source: &str) -> Result<Checked> {
    let expr = parse(source)?;
    with_scope(|scope| check(source, &expr, scope))
}

fn checked_condition(source: &str) -> Result<Checked> {
    let expr = parse(source)?;
    with_scope(|scope| check_condition(source, &expr, scope))
}
