//! Why an expression came to what it came to: its value on one row, and those of its
//! parts. For the operator's own terminal and for nothing else: it holds the row's values.

use std::fmt;

use serde::Serialize;
use serde_json::value::RawValue;

use super::language::check::{Scope, check};
use super::language::evaluate::{Evaluation, Operation, Row};
use super::language::program::Version;
use super::language::syntax::{Expr, Kind, Name};
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

/// Evaluates an expression as mapping does, and each of its parts by itself.
pub(super) fn trace<R: Row>(source: &str, expr: &Expr, scope: &Scope<'_>, row: &R) -> Trace {
    Tracer { source, scope, row }.trace(expr)
}

/// The part of a condition that decided against it, with the values that it compared: where
/// several must hold, the first that does not.
#[derive(Clone, Serialize)]
pub struct Refusal {
    /// The part of the expression.
    pub clause: String,
    /// What it names, each once, with its value.
    pub values: Vec<Trace>,
}

/// Why a condition does not hold on a row.
pub(super) fn refusal<R: Row>(source: &str, expr: &Expr, scope: &Scope<'_>, row: &R) -> Refusal {
    let tracer = Tracer { source, scope, row };
    let mut clause = expr;
    while let Kind::And(parts) = &clause.kind {
        let Some(part) = parts.iter().find(|part| !tracer.is(part, true)) else {
            break;
        };
        clause = part;
    }
    let mut values = Vec::new();
    tracer.collect_named(clause, &mut values);
    Refusal {
        clause: tracer.text(clause).to_owned(),
        values,
    }
}

struct Tracer<'a, R> {
    source: &'a str,
    scope: &'a Scope<'a>,
    row: &'a R,
}

impl<R: Row> Tracer<'_, R> {
    fn trace(&self, expr: &Expr) -> Trace {
        let (value, error) = self.value(expr, Version::Current);
        Trace {
            parts: self.parts(expr, value.is_none()),
            expression: self.text(expr).to_owned(),
            value,
            error,
        }
    }

    /// What the part comes to by itself.
    fn value(&self, expr: &Expr, version: Version) -> (Option<Box<RawValue>>, Option<String>) {
        // Each part of what was checked as a whole can be checked alone.
        let checked = match check(self.source, expr, self.scope) {
            Ok(checked) => checked,
            Err(error) => return (None, Some(error.message)),
        };
        let evaluation = Evaluation::new(self.row, self.scope.letters);
        let value = match evaluation.value_of(&checked.node, version) {
            Ok(value) => value,
            Err(failure) => return (None, Some(failure.to_string())),
        };
        let mut json = Vec::new();
        let written = write_value(&mut json, &checked.r#type, value.as_ref()).ok();
        let text = written.and_then(|()| String::from_utf8(json).ok());
        (text.and_then(|text| RawValue::from_string(text).ok()), None)
    }

    fn text(&self, expr: &Expr) -> &str {
        bare(self.source.get(expr.at.clone()).unwrap_or_default())
    }

    /// The columns and members that a part names, each once, with their values.
    fn collect_named(&self, expr: &Expr, into: &mut Vec<Trace>) {
        if !matches!(expr.kind, Kind::Name(_)) && !is_member(expr) {
            for part in expr.kind.children() {
                self.collect_named(part, into);
            }
            return;
        }
        let expression = self.text(expr);
        if into.iter().any(|known| known.expression == expression) {
            return;
        }
        let (value, error) = self.value(expr, Version::Current);
        into.push(Trace {
            expression: expression.to_owned(),
            value,
            error,
            parts: Vec::new(),
        });
    }

    fn is(&self, expr: &Expr, expected: bool) -> bool {
        let expected = if expected { "true" } else { "false" };
        let (value, _) = self.value(expr, Version::Current);
        value.is_some_and(|value| value.get() == expected)
    }

    fn all<'e>(&self, parts: impl IntoIterator<Item = &'e Expr>) -> Vec<Trace> {
        let parts = parts.into_iter().filter(|part| !is_constant(part));
        parts.map(|part| self.trace(part)).collect()
    }

    /// What evaluation looked at; `failed`: it had no value.
    fn parts(&self, expr: &Expr, failed: bool) -> Vec<Trace> {
        match &expr.kind {
            Kind::And(parts) => self.all(until(parts, |part| self.is(part, false))),
            Kind::Or(parts) => self.all(until(parts, |part| self.is(part, true))),
            Kind::Case {
                operand,
                branches,
                otherwise,
            } => {
                let mut looked_at: Vec<&Expr> = operand.as_deref().into_iter().collect();
                let chosen = branches
                    .iter()
                    .position(|(when, _)| operand.is_none() && self.is(when, true));
                let until = chosen.map_or(branches.len(), |chosen| chosen + 1);
                let whens = branches.iter().take(until).map(|(when, _)| when);
                looked_at.extend(whens);
                match chosen.and_then(|chosen| branches.get(chosen)) {
                    Some((_, then)) => looked_at.push(then),
                    None => looked_at.extend(otherwise.as_deref()),
                }
                self.all(looked_at)
            }
            Kind::Became(condition) => self.before_and_after(condition, failed),
            Kind::Changed(of) => {
                let mut parts = Vec::new();
                for one in of {
                    parts.extend(self.before_and_after(one, failed));
                }
                parts
            }
            // Of a JSON value only the member that is asked for, not the whole.
            Kind::Other(..) if is_member(expr) => Vec::new(),
            other => self.all(other.children()),
        }
    }

    /// The values of the columns around the change. One that is not known is shown
    /// only where it was missed.
    fn before_and_after(&self, expr: &Expr, missed: bool) -> Vec<Trace> {
        let versions: &[(&str, Version)] = match self.row.operation() {
            Operation::Insert => &[("new.", Version::New)],
            Operation::Delete => &[("old.", Version::Old)],
            _ => &[("old.", Version::Old), ("new.", Version::New)],
        };
        let mut columns = Vec::new();
        collect_columns(expr, &mut columns);
        let values = columns.iter().flat_map(|(name, column)| {
            versions.iter().map(|(prefix, version)| {
                let (value, error) = self.value(column, *version);
                Trace {
                    expression: format!("{prefix}{}", super::language::check::spelt(&name.text)),
                    value,
                    error,
                    parts: Vec::new(),
                }
            })
        });
        values
            .filter(|value| missed || value.error.is_none())
            .collect()
    }
}

/// Without the parentheses around all of it.
fn bare(source: &str) -> &str {
    let Some(inner) = source
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
    else {
        return source;
    };
    let (mut depth, mut quote) = (0, None);
    for c in inner.chars() {
        match (quote, c) {
            (Some(open), c) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            (None, _) => {}
        }
        if depth < 0 {
            return source;
        }
    }
    bare(inner.trim())
}

fn until(parts: &[Expr], decided: impl Fn(&Expr) -> bool) -> &[Expr] {
    let end = parts.iter().position(decided);
    parts
        .get(..end.map_or(parts.len(), |end| end + 1))
        .unwrap_or(parts)
}

/// The columns that a part names, each once.
fn collect_columns<'e>(expr: &'e Expr, into: &mut Vec<(&'e Name, &'e Expr)>) {
    if let Kind::Name(path) = &expr.kind
        && let [name] = path.as_slice()
        && into.iter().all(|(known, _)| known != &name)
        && (name.quoted || !matches!(name.text.as_str(), "tg_op" | "committed_at"))
    {
        into.push((name, expr));
    }
    for part in expr.kind.children() {
        collect_columns(part, into);
    }
}

fn is_member(expr: &Expr) -> bool {
    use super::language::syntax::Other;
    matches!(
        &expr.kind,
        Kind::Other(
            Other::Member | Other::MemberText | Other::Path | Other::PathText,
            _,
            _
        )
    )
}

fn is_constant(expr: &Expr) -> bool {
    match &expr.kind {
        Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) | Kind::Constant(..) => true,
        Kind::Name(_) => false,
        other => {
            let children = other.children();
            !children.is_empty() && children.into_iter().all(is_constant)
        }
    }
}
