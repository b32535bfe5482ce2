//! A subscription's filter: an expression that a tenant writes, over an event's body.
//!
//! Hostile by assumption. What bounds it: the source's length, the depth of its tree, a
//! budget of steps and of bytes, and another for all filters of one event.

use std::sync::LazyLock;

use super::language::check::{Checked, Members, Scope, check_condition};
use super::language::error::SyntaxError;
use super::language::evaluate::{Budget, Evaluation, Failure};
use super::language::letters::Letters;
use super::language::parse;
use super::language::syntax::Expr;
use super::language::types::Encoding;
use super::programs::placed;
use super::trace::{Refusal, Trace, refusal, trace};

mod body;

pub use body::Body;

/// A compiled filter.
#[derive(Debug)]
pub struct Filter {
    source: String,
    expr: Expr,
    checked: Checked,
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
    #[error(
        "the filters of the tenant's subscriptions take more than {} steps or {} MiB together \
         on this event",
        Budget::EVENT.steps,
        Budget::EVENT.bytes >> 20
    )]
    Together,
    #[error("the event's body is not a JSON object")]
    Body,
}

/// What the filters that are asked of one event may take together.
#[derive(Debug)]
pub struct Share {
    left: Budget,
}

impl Default for Share {
    fn default() -> Self {
        Share {
            left: Budget::EVENT,
        }
    }
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

/// Upper and lower case in filters: Unicode's simple mapping, whatever the database has.
static LETTERS: LazyLock<Letters> = LazyLock::new(Letters::unicode);

fn scope(data: Option<&[String]>) -> Scope<'_> {
    Scope {
        table: "",
        columns: &[],
        members: Some(Members {
            names: MEMBERS,
            data,
        }),
        encoding: Encoding::Utf8,
        letters: &LETTERS,
    }
}

impl Filter {
    pub fn compile(source: &str) -> Result<Filter, FilterError> {
        Self::compile_for(source, None)
    }

    /// For events whose `data` has these members, where they are known.
    pub fn compile_for(source: &str, data: Option<&[String]>) -> Result<Filter, FilterError> {
        if source.len() > MAX_FILTER {
            return Err(FilterError::TooLong(source.len()));
        }
        let syntax = |error: SyntaxError| FilterError::Syntax(placed(source, &error));
        let expr = parse::parse(source).map_err(syntax)?;
        let checked = check_condition(source, &expr, &scope(data)).map_err(syntax)?;
        Ok(Filter {
            source: source.to_owned(),
            expr,
            checked,
        })
    }

    /// Whether the filter holds for a body. To ask several filters of one event,
    /// read its [`Body`] once.
    pub fn matches(&self, body: &[u8]) -> Result<bool, FilterError> {
        self.matches_body(&Body::parse(body)?)
    }

    pub fn matches_body(&self, body: &Body<'_>) -> Result<bool, FilterError> {
        self.matches_within(body, &mut Share::default())
    }

    /// Takes what it needs of what the event's filters share.
    pub fn matches_within(&self, body: &Body<'_>, share: &mut Share) -> Result<bool, FilterError> {
        let budget = Budget::EACH.least(share.left);
        let evaluation = Evaluation::within(budget, body, &LETTERS);
        let held = evaluation.condition(&self.checked.node);
        // What would go beyond it was not begun.
        share.left = share.left.less(evaluation.taken().least(budget));
        match held {
            Ok(held) => Ok(held == Some(true)),
            Err(Failure::Steps) if budget.steps < Budget::EACH.steps => Err(FilterError::Together),
            Err(Failure::Bytes) if budget.bytes < Budget::EACH.bytes => Err(FilterError::Together),
            Err(failure) => Err(FilterError::Evaluation(failure.to_string())),
        }
    }

    /// Why the filter does not hold for a body: holds the event's values.
    pub fn refusal(&self, body: &Body<'_>) -> Refusal {
        refusal(&self.source, &self.expr, &scope(None), body)
    }

    /// What the filter and its parts come to on a body: holds the event's values.
    pub fn trace(&self, body: &Body<'_>) -> Trace {
        trace(&self.source, &self.expr, &scope(None), body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"id":"evt_1","type":"payment.received","data":
        {"amount":120.50,"count":3,"currency":"EUR","tags":["a",1,"b"],"customer":{"vip":true},
        "note":null,"orderId":"x7","at":"2024-01-31T10:00:00Z"},"previous":{"status":"open"}}"#;

    fn matches(source: &str) -> Result<bool, FilterError> {
        Filter::compile(source)?.matches(BODY)
    }

    #[test]
    fn matches_over_the_body() {
        for (source, expected) in [
            ("data.amount > 100 and data.currency = 'EUR'", true),
            ("data.amount = 120.5", true),
            ("data.count / 2 = 1.5", true),
            ("type = 'payment.failed'", false),
            ("'a' = any(data.tags) and 1 = any(data.tags)", true),
            ("'c' = any(data.tags)", false),
            ("data.customer.vip", true),
            ("data.currency in ('USD', 'EUR')", true),
            ("lower(data.currency) = 'eur'", true),
            ("data.missing.deeper is null", true),
            ("data.missing < 5", false),
            ("data.note < 5 or data.note > 5", false),
            ("previous.status = 'x'", false),
            ("previous ? 'status'", true),
            ("previous ? 'amount'", false),
            ("data.currency like 'E%'", true),
            ("data.amount * 2 = 241", true),
            (
                "data.orderid = 'x7' and data.orderId = 'x7' and data.\"orderId\" = 'x7'",
                true,
            ),
            ("data.\"orderid\" = 'x7'", false),
            ("(data.at)::timestamptz > '2024-01-01'", true),
            (
                "case when data.customer.vip then 'a' else 'b' end = 'a'",
                true,
            ),
            ("data.currency is distinct from 'USD'", true),
        ] {
            assert_eq!(matches(source), Ok(expected), "{source}");
        }
    }

    #[test]
    fn a_refusal_names_the_clause_that_decided_and_its_values() {
        let body = Body::parse(BODY).unwrap();
        for (source, clause, values) in [
            (
                "data.amount > 200",
                "data.amount > 200",
                "data.amount=120.50",
            ),
            (
                "data.currency = 'EUR' and (data.amount > 200 and data.count = 3)",
                "data.amount > 200",
                "data.amount=120.50",
            ),
            (
                "data.amount > 200 or lower(data.currency) = 'usd'",
                "data.amount > 200 or lower(data.currency) = 'usd'",
                "data.amount=120.50 data.currency=\"EUR\"",
            ),
            ("data.note < 5", "data.note < 5", "data.note=null"),
            (
                "not (data.count = 3 and data.count > 1)",
                "not (data.count = 3 and data.count > 1)",
                "data.count=3",
            ),
            (
                "type = 'x' and 1 = 2",
                "type = 'x'",
                "type=\"payment.received\"",
            ),
            ("false", "false", ""),
        ] {
            let refusal = Filter::compile(source).unwrap().refusal(&body);
            let shown = refusal.values.iter().map(|one| {
                let value = one.value.as_ref().map_or("-", |value| value.get());
                format!("{}={value}", one.expression)
            });
            let shown = shown.collect::<Vec<_>>().join(" ");
            assert_eq!((refusal.clause.as_str(), shown.as_str()), (clause, values));
        }
    }

    #[test]
    fn a_member_that_no_event_has_is_refused_where_they_are_known() {
        let data = ["total", "orderId", "Status"].map(str::to_owned);
        let compiled = |source| match Filter::compile_for(source, Some(&data)) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        for source in [
            "data.total > 5",
            "data.orderid = 'x' and data.\"orderId\" = 'x'",
            "data.total.deeper is null",
            "previous.anything = 'x'",
            "data is not null",
        ] {
            assert_eq!(compiled(source), "", "{source}");
        }
        for (source, near) in [
            ("data.totl > 5", "did you mean `total`"),
            ("data.\"status\" = 'x'", "did you mean `Status`"),
            ("type = 'a' and data.x is null", "total, orderId, Status"),
        ] {
            let error = compiled(source);
            assert!(error.contains("have no `data."), "{source}: {error}");
            assert!(error.contains(near), "{source}: {error}");
        }
    }

    #[test]
    fn hostile_and_mistaken_filters_end_in_errors() {
        let deep = |open: &str, close: &str, n| format!("{}1{}", open.repeat(n), close.repeat(n));
        for source in [
            "amount > 5",
            "data.currency > 5",
            "data.amount = '5'",
            "range(1000000)",
            "'a' * 1000000000",
            "9**9**9",
            "data.currency.upper()",
            "became(data.a = 1)",
            "tg_op = 'INSERT'",
            "1/0 = 1",
            "{% for x in data %}{% endfor %}",
            &deep("(", ")", 400),
            &deep("[", "]", 400),
            &deep("not ", "", 200),
            &format!("1{} = 1", "+1".repeat(200)),
            &"x".repeat(2000),
        ] {
            assert!(matches(source).is_err(), "{source}");
        }
        let of = |length: usize| Filter::compile(&format!("true{}", " ".repeat(length - 4)));
        assert!(of(1024).is_ok());
        assert_eq!(of(1025).unwrap_err(), FilterError::TooLong(1025));
        assert_eq!(
            Filter::compile("true").unwrap().matches(b"[1"),
            Err(FilterError::Body)
        );
    }
}
