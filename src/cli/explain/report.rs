//! What is told of one change or stored event: as JSON by serde, and as text for people.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::event::SubscriptionId;
use crate::lsn::Lsn;
use crate::mapping::Trace;
use crate::terminal::Lines;

#[derive(Serialize)]
pub(super) struct Report {
    #[serde(serialize_with = "text")]
    pub(super) commit_lsn: Lsn,
    pub(super) ordinal: u64,
    /// When the transaction committed, or when the change was parked.
    pub(super) at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) operation: Option<&'static str>,
    /// `schema.table`; empty where it is unknown.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) table: String,
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub(super) key: serde_json::Map<String, serde_json::Value>,
    pub(super) rules: Vec<RuleReport>,
    /// Why no rule was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<String>,
}

#[derive(Serialize)]
pub(super) struct RuleReport {
    pub(super) rule: String,
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub(super) event_type: String,
    #[serde(flatten)]
    pub(super) verdict: Verdict,
}

#[derive(Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub(super) enum Verdict {
    Event(EventReport),
    OtherOperation {
        on: Vec<&'static str>,
    },
    ConditionFalse {
        condition: Trace,
    },
    /// `walhook run` took the change before, and made nothing of it: the old values that
    /// its `when` saw are not kept.
    DidNotHold,
    /// The rule needs old values, and `walhook run` is still reading the table's rows
    /// for them: until it has, the rule makes nothing.
    WaitsForOldValues,
    Parked {
        reason: String,
        detail: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        condition: Option<Trace>,
    },
}

#[derive(Serialize)]
pub(super) struct EventReport {
    pub(super) event_id: String,
    pub(super) tenant_id: String,
    /// Neither a subscription nor a token of this tenant exists.
    pub(super) tenant_unknown: bool,
    /// A tenant with subscriptions whose spelling alone differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resembles: Option<String>,
    pub(super) body: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) condition: Option<Trace>,
    pub(super) subscriptions: Vec<SubscriptionReport>,
}

#[derive(Serialize)]
pub(super) struct SubscriptionReport {
    #[serde(serialize_with = "text")]
    pub(super) id: SubscriptionId,
    pub(super) url: String,
    #[serde(flatten)]
    pub(super) answer: Answer,
}

/// Whether a subscription receives an event, and why not.
#[derive(Serialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(super) enum Answer {
    Receives,
    /// It has a delivery of the stored event.
    Delivery {
        status: String,
        attempts: i32,
        #[serde(skip_serializing_if = "Option::is_none")]
        last_http_status: Option<i16>,
    },
    /// It would receive it as it is now, but there is no delivery: it has been changed since.
    ChangedSince,
    /// Its delivery is parked: the body is larger than `delivery.max_body`.
    Oversized {
        bytes: usize,
        max_body: usize,
    },
    OtherTypes {
        events: Vec<String>,
    },
    Inactive,
    BeginsLater {
        #[serde(serialize_with = "text")]
        from_lsn: Lsn,
    },
    FilterFalse {
        filter: Trace,
    },
    FilterFailed {
        error: String,
    },
}

fn text<T: ToString, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}

impl Report {
    pub(super) fn events(&self) -> impl Iterator<Item = &EventReport> {
        self.rules.iter().filter_map(|rule| match &rule.verdict {
            Verdict::Event(event) => Some(event),
            Verdict::OtherOperation { .. }
            | Verdict::ConditionFalse { .. }
            | Verdict::DidNotHold
            | Verdict::WaitsForOldValues
            | Verdict::Parked { .. } => None,
        })
    }

    pub(super) fn parked(&self) -> u64 {
        let parked = self
            .rules
            .iter()
            .filter(|rule| matches!(rule.verdict, Verdict::Parked { .. }));
        parked.count() as u64
    }

    pub(super) fn text(&self, bodies: bool) -> Lines {
        let mut out = Lines::default();
        let key: Vec<_> = self.key.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let what = [
            self.operation.unwrap_or_default(),
            &self.table,
            &key.join(" "),
        ]
        .join(" ");
        out.line(format_args!(
            "{} {}:{}  {}",
            self.at,
            self.commit_lsn,
            self.ordinal,
            what.trim()
        ));
        if let Some(note) = &self.note {
            out.line(format_args!("  no event: {note}"));
        }
        let mut other = Vec::new();
        for rule in &self.rules {
            match &rule.verdict {
                Verdict::Event(event) => {
                    out.line(format_args!(
                        "  event {} {} for tenant {}, by the rule {}",
                        rule.event_type, event.event_id, &event.tenant_id, rule.rule
                    ));
                    if bodies && let Some(body) = &event.body {
                        out.line(format_args!("    {}", body.get()));
                    }
                    event.write(&mut out);
                }
                Verdict::OtherOperation { on } => {
                    other.push(format!("{} ({})", rule.rule, on.join(", ")));
                }
                Verdict::ConditionFalse { condition } => {
                    out.line(format_args!(
                        "  no event: the rule {}: its `when` does not hold",
                        rule.rule
                    ));
                    write_trace(&mut out, condition, 4);
                }
                Verdict::DidNotHold => {
                    out.line(format_args!(
                        "  no event: the rule {}: its `when` did not hold when `walhook run` took the change; the old values that it saw are not kept",
                        rule.rule
                    ));
                }
                Verdict::WaitsForOldValues => {
                    out.line(format_args!(
                        "  no event: the rule {}: it waits until `walhook run` has read the old values of {}",
                        rule.rule, self.table
                    ));
                }
                Verdict::Parked {
                    reason,
                    detail,
                    condition,
                } => {
                    out.line(format_args!(
                        "  parked: the rule {}: {reason}: {detail}",
                        rule.rule
                    ));
                    if let Some(condition) = condition {
                        write_trace(&mut out, condition, 4);
                    }
                }
            }
        }
        if !other.is_empty() {
            out.line(format_args!(
                "  no event: other operations only: {}",
                other.join(", ")
            ));
        }
        out
    }
}

impl EventReport {
    pub(super) fn is_received(&self) -> bool {
        self.subscriptions
            .iter()
            .any(|one| matches!(one.answer, Answer::Receives | Answer::Delivery { .. }))
    }

    fn write(&self, out: &mut Lines) {
        if self.subscriptions.is_empty() {
            out.line(match self.tenant_unknown {
                true => "    for nobody: the tenant is unknown here, it has neither a subscription nor a token",
                false => "    for nobody: the tenant has no subscription",
            });
            if let Some(similar) = &self.resembles {
                out.line(format_args!(
                    "    `{similar}` has subscriptions, and its spelling alone differs: correct the rule's `tenant`, or subscribe for `{}`",
                    self.tenant_id
                ));
            }
        }
        for one in &self.subscriptions {
            let (to, why) = match &one.answer {
                Answer::Receives => ("to", String::new()),
                Answer::Delivery {
                    status,
                    attempts,
                    last_http_status,
                } => {
                    let answered = last_http_status
                        .map(|status| format!(", last answered {status}"))
                        .unwrap_or_default();
                    ("to", format!(": {status}, {attempts} attempts{answered}"))
                }
                Answer::ChangedSince => (
                    "not to",
                    ": it has no delivery; as it is now it would: it was changed since".to_owned(),
                ),
                Answer::Oversized { bytes, max_body } => (
                    "not to",
                    format!(
                        ": parked, as the body has {bytes} bytes and delivery.max_body is {max_body}"
                    ),
                ),
                Answer::OtherTypes { events } => {
                    ("not to", format!(": it asks for {}", events.join(", ")))
                }
                Answer::Inactive => ("not to", ": it is not active".to_owned()),
                Answer::BeginsLater { from_lsn } => {
                    ("not to", format!(": it begins later, at {from_lsn}"))
                }
                Answer::FilterFalse { .. } => ("not to", ": its filter does not hold".to_owned()),
                Answer::FilterFailed { error } => ("not to", format!(": {error}")),
            };
            let line = format!("{to} {} {}{why}", one.id, one.url);
            out.line(format_args!("    {}", &line));
            if let Answer::FilterFalse { filter } = &one.answer {
                write_trace(out, filter, 6);
            }
        }
    }
}

/// An expression and its parts, each on a line below.
fn write_trace(out: &mut Lines, trace: &Trace, indent: usize) {
    let value = match (&trace.value, &trace.error) {
        (Some(value), _) => value.get(),
        (None, Some(error)) => error,
        (None, None) => "?",
    };
    let line = format!("{}: {value}", trace.expression);
    out.line(format_args!("{:indent$}{}", "", &line));
    for part in &trace.parts {
        write_trace(out, part, indent + 2);
    }
}
