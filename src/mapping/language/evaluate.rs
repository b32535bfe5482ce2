//! Gives an expression's value for a row: what the server would give, or a failure where
//! the server fails or the row does not say.

use std::cell::Cell;

use super::letters::Letters;
use super::number::Decimal;
use super::program::{ColumnKind, Node, Version};
use super::syntax::Name;
use super::time::{Date, Interval, Timestamp};
use super::value::{Constant, Value};

mod budget;
mod compare;
mod condition;
mod convert;
mod function;
mod json;
mod like;
mod member;
mod number;
mod time;

pub use budget::Budget;
pub use convert::write_output;

/// A change's row, by the places of the columns that the expression was checked with.
pub trait Row {
    /// A column's text as the server prints it; `None` is null. Fails, with the reason,
    /// where the change does not carry the value.
    fn text(&self, version: Version, column: usize) -> Result<Option<&str>, String>;

    fn is_null(&self, version: Version, column: usize) -> Result<bool, String> {
        self.text(version, column).map(|text| text.is_none())
    }

    /// Whether an update brought the column another value; by its text, so that to or from
    /// null counts. Fails where that is not known.
    fn changed(&self, column: usize) -> Result<bool, String>;

    fn operation(&self) -> Operation;

    fn committed_at(&self) -> Timestamp;

    /// A member of an event, by the names that lead to it; `None` where there is none.
    fn member(&self, _path: &[Name]) -> Result<Option<&str>, String> {
        Err("a row has no members".to_owned())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Insert,
    Update,
    Delete,
    Truncate,
}

impl Operation {
    /// As `tg_op` names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Insert => "INSERT",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Truncate => "TRUNCATE",
        }
    }
}

/// Why an expression has no value for a row. Never holds the row's values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A value is not known: where other parts decide, it does not matter.
    #[error("{0}")]
    Unknown(String),
    /// The server would fail too, or the language stops short of it.
    #[error("{0}")]
    Failed(String),
    /// An order that a label of an enum has no place in.
    #[error("the enum {} has no such label: it was renamed after the change", .0.of)]
    Label(UnknownLabel),
    #[error("evaluating takes more than {} steps", Budget::EACH.steps)]
    Steps,
    #[error("evaluating makes more than {} MiB of texts", Budget::EACH.bytes >> 20)]
    Bytes,
}

/// A label that was not in the catalog when that was read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UnknownLabel {
    /// The enum's name.
    pub of: String,
    pub label: String,
}

pub type Result<T, E = Failure> = std::result::Result<T, E>;

fn failed<T>(reason: impl Into<String>) -> Result<T> {
    Err(Failure::Failed(reason.into()))
}

/// One expression, or several of one rule, over one row.
pub struct Evaluation<'a, R> {
    row: &'a R,
    letters: &'a Letters,
    budget: Budget,
    steps: Cell<u32>,
    bytes: Cell<usize>,
}

impl<'a, R: Row> Evaluation<'a, R> {
    pub fn new(row: &'a R, letters: &'a Letters) -> Self {
        Self::within(Budget::EACH, row, letters)
    }

    pub fn within(budget: Budget, row: &'a R, letters: &'a Letters) -> Self {
        Evaluation {
            row,
            letters,
            budget,
            steps: Cell::new(0),
            bytes: Cell::new(0),
        }
    }

    /// A condition: true, false or null.
    pub fn condition(&'a self, node: &'a Node) -> Result<Option<bool>> {
        self.boolean(node, Version::Current)
    }

    /// A value of any type; `None` is null.
    pub fn value(&'a self, node: &'a Node) -> Result<Option<Value<'a>>> {
        self.evaluate(node, Version::Current)
    }

    /// A value as it is in one version of the row.
    pub fn value_of(&'a self, node: &'a Node, version: Version) -> Result<Option<Value<'a>>> {
        self.evaluate(node, version)
    }

    pub fn taken(&self) -> Budget {
        Budget {
            steps: self.steps.get(),
            bytes: self.bytes.get(),
        }
    }

    /// Called before so many bytes are passed through, of which a step takes so many.
    fn pass(&self, bytes: usize, in_a_step: usize) -> Result<()> {
        self.step(u32::try_from(bytes / in_a_step).unwrap_or(u32::MAX))
    }

    fn step(&self, count: u32) -> Result<()> {
        let steps = self.steps.get().saturating_add(count);
        self.steps.set(steps);
        match steps > self.budget.steps {
            true => Err(Failure::Steps),
            false => Ok(()),
        }
    }

    /// Called before a text of so many bytes is made.
    fn make(&self, bytes: usize) -> Result<()> {
        let bytes = self.bytes.get().saturating_add(bytes);
        self.bytes.set(bytes);
        match bytes > self.budget.bytes {
            true => Err(Failure::Bytes),
            false => Ok(()),
        }
    }

    fn evaluate(&'a self, node: &'a Node, current: Version) -> Result<Option<Value<'a>>> {
        match node {
            Node::Constant(constant) => Ok(constant.as_ref().map(Constant::as_value)),
            Node::Stable(of) => self.evaluate(of, current),
            Node::Column(version, column, kind) => {
                self.step(1)?;
                self.column(version_of(*version, current), *column, *kind)
            }
            Node::Member(path) => {
                self.step(1)?;
                let found = self.row.member(path).map_err(Failure::Unknown)?;
                Ok(found
                    .filter(|json| *json != "null")
                    .map(|json| Value::Json(json.into())))
            }
            Node::Operation => Ok(Some(Value::Text(self.row.operation().as_str().into()))),
            Node::CommittedAt => Ok(Some(Value::Timestamp(self.row.committed_at()))),
            Node::Case(branches, otherwise) => {
                for (when, then) in branches {
                    if self.boolean(when, current)? == Some(true) {
                        return self.evaluate(then, current);
                    }
                }
                match otherwise {
                    Some(otherwise) => self.evaluate(otherwise, current),
                    None => Ok(None),
                }
            }
            Node::Coalesce(parts) => {
                for part in parts {
                    if let Some(value) = self.evaluate(part, current)? {
                        return Ok(Some(value));
                    }
                }
                Ok(None)
            }
            Node::Nullif(comparer, left, right) => {
                let (left, right) = (
                    self.evaluate(left, current)?,
                    self.evaluate(right, current)?,
                );
                match (left, right) {
                    (Some(left), Some(right)) if self.equal(comparer, &left, &right)? => Ok(None),
                    (left, _) => Ok(left),
                }
            }
            Node::Extreme(comparer, greatest, parts) => {
                let mut extreme: Option<Value<'a>> = None;
                for part in parts {
                    let Some(value) = self.evaluate(part, current)? else {
                        continue;
                    };
                    let replaces = match &extreme {
                        None => true,
                        Some(so_far) => {
                            let order = compare::order(comparer, &value, so_far)?;
                            if *greatest {
                                order.is_gt()
                            } else {
                                order.is_lt()
                            }
                        }
                    };
                    if replaces {
                        extreme = Some(value);
                    }
                }
                Ok(extreme)
            }
            Node::Number(operator, kind, left, right) => {
                self.step(1)?;
                let (left, right) = (
                    self.evaluate(left, current)?,
                    self.evaluate(right, current)?,
                );
                match (left, right) {
                    (Some(left), Some(right)) => {
                        self.number(*operator, *kind, &left, &right).map(Some)
                    }
                    _ => Ok(None),
                }
            }
            Node::Negate(kind, of) => match self.evaluate(of, current)? {
                Some(value) => number::negate(*kind, &value).map(Some),
                None => Ok(None),
            },
            Node::Time(operation, left, right) => {
                self.step(1)?;
                let (left, right) = (
                    self.evaluate(left, current)?,
                    self.evaluate(right, current)?,
                );
                match (left, right) {
                    (Some(left), Some(right)) => time::compute(*operation, &left, &right).map(Some),
                    _ => Ok(None),
                }
            }
            Node::Convert(conversion, of) => {
                self.step(1)?;
                match self.evaluate(of, current)? {
                    Some(value) => self.convert(*conversion, value).map(Some),
                    None => Ok(None),
                }
            }
            Node::Call(function, arguments) => self.call(*function, arguments, current),
            Node::Json(operation, left, right) => self.json(*operation, left, right, current),
            Node::Extract(field, kind, of) => match self.evaluate(of, current)? {
                Some(value) => time::extract(*field, *kind, &value),
                None => Ok(None),
            },
            Node::And(_)
            | Node::Or(_)
            | Node::Not(_)
            | Node::IsNull(..)
            | Node::IsBool(..)
            | Node::Compare(..)
            | Node::Distinct(..)
            | Node::In(..)
            | Node::Like(..)
            | Node::Any(..)
            | Node::Array(..)
            | Node::Became(..)
            | Node::Changed(_) => Ok(self.boolean(node, current)?.map(Value::Bool)),
        }
    }

    fn column(
        &'a self,
        version: Version,
        column: usize,
        kind: ColumnKind,
    ) -> Result<Option<Value<'a>>> {
        let text = self.row.text(version, column).map_err(Failure::Unknown)?;
        let Some(text) = text else {
            return Ok(None);
        };
        let value = match kind {
            ColumnKind::Text => Some(Value::Text(text.into())),
            ColumnKind::Bool => Some(Value::Bool(text == "t")),
            ColumnKind::Integer => text.parse().ok().map(Value::Integer),
            ColumnKind::Numeric => Decimal::parse(text)
                .ok()
                .map(|value| Value::Numeric(std::borrow::Cow::Owned(value))),
            ColumnKind::Float4 => super::number::float::parse_f32(text)
                .ok()
                .map(Value::Float4),
            ColumnKind::Float8 => super::number::float::parse_f64(text)
                .ok()
                .map(Value::Float8),
            ColumnKind::Date => Date::parse_output(text).ok().map(Value::Date),
            ColumnKind::Timestamp => timestamp(text).map(Value::Timestamp),
            ColumnKind::Interval => Interval::parse_output(text).ok().map(Value::Interval),
        };
        match value {
            Some(value) => Ok(Some(value)),
            None => failed("the value of a column cannot be read as its type"),
        }
    }

    /// A part that is a text.
    fn text(
        &'a self,
        node: &'a Node,
        current: Version,
    ) -> Result<Option<std::borrow::Cow<'a, str>>> {
        self.step(1)?;
        match self.evaluate(node, current)? {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => failed("a text is expected"),
        }
    }
}

fn timestamp(text: &str) -> Option<Timestamp> {
    match text.ends_with("+00") || text.ends_with("+00 BC") {
        true => Timestamp::parse_output_tz(text).ok(),
        false => Timestamp::parse_output(text).ok(),
    }
}

fn version_of(version: Version, current: Version) -> Version {
    match version {
        Version::Current => current,
        version => version,
    }
}

/// A row of which nothing is asked.
struct NoRow;

impl Row for NoRow {
    fn text(&self, _: Version, _: usize) -> Result<Option<&str>, String> {
        Err("there is no row".to_owned())
    }

    fn changed(&self, _: usize) -> Result<bool, String> {
        Err("there is no row".to_owned())
    }

    fn operation(&self) -> Operation {
        Operation::Truncate
    }

    fn committed_at(&self) -> Timestamp {
        Timestamp::INFINITY
    }
}

/// The value of a part that reads nothing of a row.
pub fn constant_value(node: &Node, letters: &Letters) -> Result<Option<Constant>> {
    let evaluation = Evaluation::new(&NoRow, letters);
    let value = evaluation.value(node)?;
    Ok(value.map(Value::into_constant))
}
