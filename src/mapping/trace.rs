//! Why an expression came to what it came to: its value on one row, and those of its
//! parts. For the operator's own terminal and for nothing else: it holds the row's values.

use std::fmt;

use serde::Serialize;
use serde_json::value::RawValue;

use super::condition::{EvaluationError, Scope, Value, evaluate, truth};
use super::expression::{Node, Row, prefix, show};
use super::payload::write_value;

/// An expression with what it came to.
#[derive(Clone, Serialize)]
pub struct Trace {
    /// The expression, or the part of it.
    pub expression: String,
    /// Its value as JSON; `None` where it has none on this row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Box<RawValue>>,
    /// Why it has no value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The parts that were looked at, constants left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Trace>,
}

/// Without the values: they are the row's.
impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace")
            .field("expression", &self.expression)
            .finish_non_exhaustive()
    }
}

/// Evaluates an expression as mapping does, and its parts with it. `name` gives the
/// names of columns.
pub(super) fn trace<'n, S: Scope>(
    node: &Node,
    scope: &S,
    name: &impl Fn(usize) -> &'n str,
) -> Trace {
    Tracer { scope, name }.trace(node)
}

struct Tracer<'a, S, N> {
    scope: &'a S,
    name: &'a N,
}

impl<'n, S: Scope, N: Fn(usize) -> &'n str> Tracer<'_, S, N> {
    fn trace(&self, node: &Node) -> Trace {
        let result = evaluate(node, self.scope);
        let failed = result.is_err();
        Trace {
            parts: self.parts(node, failed),
            ..of_result(show(node, self.name), &result)
        }
    }

    fn all<'t>(&self, nodes: impl IntoIterator<Item = &'t Node>) -> Vec<Trace> {
        let nodes = nodes.into_iter().filter(|node| !is_constant(node));
        nodes.map(|node| self.trace(node)).collect()
    }

    fn holds(&self, node: &Node) -> bool {
        evaluate(node, self.scope).is_ok_and(|value| truth(&value))
    }

    /// What evaluation looked at; `failed`: it had no value.
    fn parts(&self, node: &Node, failed: bool) -> Vec<Trace> {
        match node {
            Node::Null
            | Node::Bool(_)
            | Node::Integer(_)
            | Node::Float(_)
            | Node::Decimal(_)
            | Node::Text(_)
            | Node::Column(..)
            | Node::Operation
            // Of a JSON value only the member that is asked for, not the whole.
            | Node::Member(..)
            | Node::Element(..) => Vec::new(),
            Node::List(items) => self.all(items),
            Node::Not(of) | Node::Negate(of) => self.all([&**of]),
            Node::And(left, right) => match self.holds(left) {
                true => self.all([&**left, &**right]),
                false => self.all([&**left]),
            },
            Node::Or(left, right) => match self.holds(left) {
                true => self.all([&**left]),
                false => self.all([&**left, &**right]),
            },
            Node::Compare(first, links) => {
                self.all([&**first].into_iter().chain(links.iter().map(|link| &link.1)))
            }
            Node::Arithmetic(_, left, right) | Node::Concatenate(left, right) => {
                self.all([&**left, &**right])
            }
            Node::Choose(test, yes, no) => match self.holds(test) {
                true => self.all([&**test, &**yes]),
                false => self.all([&**test, &**no]),
            },
            Node::Filter(_, of, arguments) | Node::Test(_, of, arguments) => {
                self.all([&**of].into_iter().chain(arguments))
            }
            Node::Became(column, value) => {
                let mut parts = self.before_and_after(*column, failed);
                parts.extend(self.all([&**value]));
                parts
            }
            Node::Changed(columns) => match columns.as_slice() {
                [column] => self.before_and_after(*column, failed),
                columns => columns.iter().map(|column| self.changed(*column)).collect(),
            },
        }
    }

    fn changed(&self, column: usize) -> Trace {
        let result = self.scope.changed(column).map(Value::Bool);
        Trace {
            parts: self.before_and_after(column, result.is_err()),
            ..of_result(show(&Node::Changed(vec![column]), self.name), &result)
        }
    }

    /// A column's values around the change. One that is not in the log is told of only
    /// where it was missed.
    fn before_and_after(&self, column: usize, missed: bool) -> Vec<Trace> {
        let rows: &[Row] = match self.scope.operation() {
            "insert" => &[Row::New],
            "delete" => &[Row::Old],
            _ => &[Row::Old, Row::New],
        };
        let values = rows.iter().map(|row| {
            let expression = format!("{}{}", prefix(*row), (self.name)(column));
            of_result(expression, &self.scope.column(*row, column))
        });
        values
            .filter(|value| missed || value.error.is_none())
            .collect()
    }
}

fn of_result(expression: String, result: &Result<Value<'_>, EvaluationError>) -> Trace {
    let (value, error) = match result {
        Ok(value) => (json(value), None),
        Err(error) => (None, Some(error.to_string())),
    };
    Trace {
        expression,
        value,
        error,
        parts: Vec::new(),
    }
}

fn json(value: &Value<'_>) -> Option<Box<RawValue>> {
    let mut text = Vec::new();
    write_value(&mut text, value).ok()?;
    RawValue::from_string(String::from_utf8(text).ok()?).ok()
}

fn is_constant(node: &Node) -> bool {
    match node {
        Node::Null
        | Node::Bool(_)
        | Node::Integer(_)
        | Node::Float(_)
        | Node::Decimal(_)
        | Node::Text(_) => true,
        Node::List(items) => items.iter().all(is_constant),
        Node::Negate(of) => is_constant(of),
        Node::Column(..)
        | Node::Operation
        | Node::Member(..)
        | Node::Element(..)
        | Node::Not(_)
        | Node::And(..)
        | Node::Or(..)
        | Node::Compare(..)
        | Node::Arithmetic(..)
        | Node::Concatenate(..)
        | Node::Choose(..)
        | Node::Filter(..)
        | Node::Test(..)
        | Node::Became(..)
        | Node::Changed(_) => false,
    }
}
