//! A subscription's filter: an expression that a tenant writes, over an event's body.
//!
//! Hostile by assumption. What bounds it: the source's length, the depth of its tree,
//! an allow-list of filters and tests, and a language that has neither loops nor
//! anything that makes a text longer than the sum of its parts.

use std::borrow::Cow;

use serde_json::Value as Json;

use super::condition::{EvaluationError, Scope, Value, holds, of_json};
use super::expression::{Names, Node, Row, Vocabulary, parse};
use super::trace::{Trace, trace};

/// A compiled filter.
#[derive(Debug)]
pub struct Filter {
    node: Node,
}

/// Longest filter, as the store's constraint has it.
const MAX_FILTER: usize = 1024;

/// Why a filter is refused, or has no answer for an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error("the filter is {0} bytes long; at most {MAX_FILTER} are allowed")]
    TooLong(usize),
    #[error("the filter is not valid: {0}")]
    Syntax(String),
    #[error("the filter cannot be evaluated on this event: {0}")]
    Evaluation(String),
    #[error("the event's body is not a JSON object")]
    Body,
}

const MEMBERS: &[&str] = &[
    "id",
    "type",
    "timestamp",
    "tenant_id",
    "sequence",
    "data",
    "previous",
    "backfill",
];

impl Filter {
    pub fn compile(source: &str) -> Result<Filter, FilterError> {
        if source.len() > MAX_FILTER {
            return Err(FilterError::TooLong(source.len()));
        }
        let vocabulary = Vocabulary::Body(MEMBERS);
        parse(source, vocabulary, &mut Names::default(), "filter")
            .map(|node| Filter { node })
            .map_err(FilterError::Syntax)
    }

    /// Whether the filter holds for a body. To ask several filters of one event,
    /// parse its [`Body`] once.
    pub fn matches(&self, body: &[u8]) -> Result<bool, FilterError> {
        self.matches_body(&Body::parse(body)?)
    }

    pub fn matches_body(&self, body: &Body) -> Result<bool, FilterError> {
        holds(&self.node, body).map_err(|error| FilterError::Evaluation(error.to_string()))
    }

    /// What the filter and its parts come to on a body: holds the event's values.
    pub fn trace(&self, body: &Body) -> Trace {
        let name = |member: usize| MEMBERS.get(member).copied().unwrap_or_default();
        trace(&self.node, body, &name)
    }
}

/// An event's body, parsed for filters.
pub struct Body(serde_json::Map<String, Json>);

impl Body {
    pub fn parse(body: &[u8]) -> Result<Body, FilterError> {
        serde_json::from_slice(body)
            .map(Body)
            .map_err(|_| FilterError::Body)
    }
}

impl Scope for Body {
    fn column(&self, _row: Row, name: usize) -> Result<Value<'_>, EvaluationError> {
        let member = MEMBERS.get(name).and_then(|name| self.0.get(*name));
        Ok(member.map_or(Value::Null, |json| of_json(Cow::Borrowed(json))))
    }

    // The vocabulary of a body knows no `op`, `changed` or `became`: nothing parses to them.
    fn operation(&self) -> &'static str {
        ""
    }

    fn changed(&self, _name: usize) -> Result<bool, EvaluationError> {
        Ok(false)
    }

    fn became(&self, _name: usize, _value: &Value<'_>) -> Result<bool, EvaluationError> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"id":"evt_1","type":"payment.received","data":
        {"amount":120.50,"currency":"EUR","tags":["a","b"],"customer":{"vip":true},"note":null}}"#;

    fn matches(source: &str) -> Result<bool, FilterError> {
        Filter::compile(source)?.matches(BODY)
    }

    #[test]
    fn matches_over_the_body() {
        for (source, expected) in [
            ("data.amount > 100 and data.currency == 'EUR'", true),
            ("data.amount == 120.5", true),
            ("type == 'payment.failed'", false),
            ("'a' in data.tags and data.tags[1] == 'b'", true),
            ("data.customer.vip", true),
            ("data.currency in ['USD', 'EUR']", true),
            ("data.currency|lower == 'eur'", true),
            ("data.missing.deeper == none", true),
            ("data.missing < 5", false),
            ("data.note < 5 or data.note > 5", false),
            ("previous.status == 'x'", false),
            ("data.currency is startingwith('E')", true),
            ("data['amount'] * 2 == 241", true),
            ("'vip' if data.customer.vip else ''", true),
        ] {
            assert_eq!(matches(source), Ok(expected), "{source}");
        }
    }

    #[test]
    fn hostile_and_mistaken_filters_end_in_errors() {
        let deep = |open: &str, close: &str, n| format!("{}1{}", open.repeat(n), close.repeat(n));
        for source in [
            "amount > 5",
            "data.amount > '5'",
            "range(1000000)",
            "'a' * 1000000000",
            "9**9**9",
            "data.currency.upper()",
            "became('a', 1)",
            "op == 'insert'",
            "1/0",
            "{% for x in data %}{% endfor %}",
            &deep("(", ")", 400),
            &deep("[", "]", 400),
            &deep("not ", "", 200),
            &format!("1{}", "+1".repeat(500)),
            &"x".repeat(2000),
        ] {
            assert!(matches(source).is_err(), "{source}");
        }
        assert_eq!(
            Filter::compile("true").unwrap().matches(b"[1"),
            Err(FilterError::Body)
        );
    }
}
