//! A rule's expressions, checked against the columns of a table: ready to be evaluated.

use std::borrow::Cow;

use super::language::check::{Checked, Scope, check, check_condition};
use super::language::error::SyntaxError;
use super::language::evaluate::{Evaluation, Failure, Operation, Row};
use super::language::program::{Node, Version};
use super::language::syntax::Expr;
use super::language::time::Timestamp;
use super::language::types::{Column, Type};
use super::language::value::Value;
use super::language::{evaluate, parse};

use super::database::Database;
use super::row::{Kind, RowChange};
use super::rules::Rule;

/// Longest expression of a rule, in bytes.
const MAX_SOURCE: usize = 4096;

/// An expression as it was written, read once.
#[derive(Debug)]
pub(super) struct Written {
    /// The rule's key: `when`, `tenant` or `data.amount`.
    pub(super) key: String,
    pub(super) source: String,
    pub(super) expr: Expr,
}

impl Written {
    pub(super) fn parse(source: &str, key: &str) -> Result<Self, String> {
        if source.len() > MAX_SOURCE {
            return Err(format!(
                "the expression is {} bytes long; at most {MAX_SOURCE} are allowed",
                source.len()
            ));
        }
        let expr = parse::parse(source).map_err(|error| placed(source, &error))?;
        Ok(Written {
            key: key.to_owned(),
            source: source.to_owned(),
            expr,
        })
    }
}

/// The error with its place in the expression.
pub(super) fn placed(source: &str, error: &SyntaxError) -> String {
    let (line, column) = error.line_and_column(source);
    match source.contains('\n') {
        true => format!("line {line}, column {column}: {}", error.message),
        false => format!("column {column}: {}", error.message),
    }
}

/// Checks all expressions of the rule, in their order; the key beside each error.
pub(super) fn programs(
    rule: &Rule,
    columns: &[Column],
    database: &Database,
) -> Result<Vec<Checked>, Vec<(String, String)>> {
    let table = rule.table.to_string();
    let scope = Scope {
        table: &table,
        columns,
        members: None,
        encoding: database.encoding,
        letters: &database.letters,
    };
    let mut programs = Vec::with_capacity(rule.expressions.len());
    let mut errors = Vec::new();
    for (index, written) in rule.expressions.iter().enumerate() {
        let checked = match rule.when == Some(index) {
            true => check_condition(&written.source, &written.expr, &scope),
            false => check(&written.source, &written.expr, &scope),
        };
        let checked = checked.and_then(|checked| match rule.tenant_expression() == Some(index) {
            true => tenant(checked, written),
            false => data(checked, written),
        });
        match checked {
            Ok(checked) => programs.push(checked),
            Err(error) => errors.push((written.key.clone(), placed(&written.source, &error))),
        }
    }
    match errors.is_empty() {
        true => Ok(programs),
        false => Err(errors),
    }
}

/// A tenant is a text, or what has one spelling as text.
fn tenant(checked: Checked, written: &Written) -> Result<Checked, SyntaxError> {
    let hint = match &checked.r#type {
        Type::Text
        | Type::Varchar
        | Type::Char
        | Type::Enum(_)
        | Type::Uuid
        | Type::Int2
        | Type::Int4
        | Type::Int8 => return Ok(checked),
        Type::Json | Type::Jsonb => format!(": write {}->>'name'", written.source),
        Type::Numeric => format!(": write ({})::bigint", written.source),
        _ => String::new(),
    };
    Err(SyntaxError::new(
        written.expr.at.clone(),
        format!(
            "a tenant is a text, an enum, a uuid or an integer, and this is of type {}{hint}",
            checked.r#type
        ),
    ))
}

/// A column of any type is copied; of other types nothing can be computed.
fn data(checked: Checked, written: &Written) -> Result<Checked, SyntaxError> {
    match (&checked.r#type, &checked.node) {
        (Type::Opaque(name), node) if !matches!(node, Node::Column(..)) => Err(SyntaxError::new(
            written.expr.at.clone(),
            format!("a value of type {name} is copied as a bare column only"),
        )),
        _ => Ok(checked),
    }
}

/// A change's row as expressions read it.
pub(super) struct Values<'a> {
    pub(super) row: RowChange<'a>,
    pub(super) committed_at: jiff::Timestamp,
}

impl Row for Values<'_> {
    fn text(&self, version: Version, column: usize) -> Result<Option<&str>, String> {
        let text = self
            .row
            .value(version, column)
            .map_err(|missing| missing.to_string())?;
        let text = text.map(|text| std::str::from_utf8(text)).transpose();
        text.map_err(|_| {
            let name = self.row.relation.columns.get(column);
            let name = name.map_or("", |column| column.name.as_str());
            format!("column `{name}` is not valid UTF-8")
        })
    }

    /// Also of bytes that are no text.
    fn is_null(&self, version: Version, column: usize) -> Result<bool, String> {
        let value = self.row.value(version, column);
        value
            .map(|value| value.is_none())
            .map_err(|missing| missing.to_string())
    }

    fn changed(&self, column: usize) -> Result<bool, String> {
        self.row
            .changed(column)
            .map_err(|missing| missing.to_string())
    }

    fn operation(&self) -> Operation {
        match self.row.kind {
            Kind::Insert => Operation::Insert,
            Kind::Update => Operation::Update,
            Kind::Delete => Operation::Delete,
            Kind::Truncate => Operation::Truncate,
        }
    }

    fn committed_at(&self) -> Timestamp {
        /// 2000-01-01, from where the server counts.
        const EPOCH: i64 = 946_684_800_000_000;
        let micros = self.committed_at.as_microsecond().saturating_sub(EPOCH);
        Timestamp::from_micros(micros).unwrap_or(Timestamp::INFINITY)
    }
}

/// The text that a value has as tenant: as its cast to text.
pub(super) fn tenant_text<'a, R: Row>(
    program: &'a Checked,
    evaluation: &'a Evaluation<'a, R>,
    version: Version,
) -> Result<Option<Cow<'a, str>>, Failure> {
    Ok(evaluation.value_of(&program.node, version)?.map(|value| {
        let text = match value {
            Value::Text(text) => text,
            value => {
                let mut out = String::new();
                evaluate::write_output(&mut out, &value);
                Cow::Owned(out)
            }
        };
        match (&program.r#type, text) {
            (Type::Char, Cow::Borrowed(text)) => Cow::Borrowed(text.trim_end_matches(' ')),
            (_, text) => text,
        }
    }))
}
