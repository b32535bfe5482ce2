//! The attempts of a delivery: what was answered, why it was made, and what to do.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::extract::{Path, State as AxumState};
use axum::response::Response;
use jiff::Timestamp;

use super::Found;
use crate::console::State;
use crate::console::advice::{Advice, advice};
use crate::console::capability::Capability;
use crate::console::fault::{Fault, retention_days};
use crate::console::markup::{Markup, badge, measured, named_status};
use crate::console::shell::{Place, Shell, Visitor, page};
use crate::console::words::{shown_url, who};
use crate::db::tenant_transaction;
use crate::delivery::attempt_log::{self, Attempt};
use crate::delivery::cause::Trigger;
use crate::delivery::listing::DeliveryId;

/// Bytes of an answer beside its attempt; the whole has a page of its own.
const ANSWER: usize = 4 * 1024;

/// An attempt as the page shows it.
pub(super) struct AttemptView {
    pub(super) number: i32,
    pub(super) at: Timestamp,
    pub(super) duration: String,
    pub(super) verdict: Markup,
    pub(super) error: Option<String>,
    /// `name: value` of chosen headers, where the answer was kept.
    pub(super) headers: Vec<String>,
    /// As it came, or its beginning in a line.
    pub(super) answer: Option<String>,
    /// More of it was kept.
    pub(super) answer_is_long: bool,
    /// More of it came than was kept.
    pub(super) answer_is_cut: bool,
    /// What brought it about, where it was not the schedule.
    pub(super) cause: Option<String>,
    /// Where it was sent.
    pub(super) url: Option<String>,
    pub(super) version: Option<i32>,
    pub(super) advice: Option<Advice>,
    /// How the answer differs from that of the attempt before.
    pub(super) change: Option<String>,
    /// `webhook-timestamp`.
    pub(super) sent_at: i64,
}

/// Those of the page, with how each differs from the one before.
pub(super) fn attempts(found: &Found, timeout: Duration, visitor: &Visitor) -> Vec<AttemptView> {
    let may_see = visitor.may(Capability::Payloads);
    let mut before = found.before.as_ref().map(said);
    let views = found.attempts.iter().map(|attempt| {
        let said = said(attempt);
        let change = before.as_ref().filter(|before| **before != said);
        let change = change.map(|before| format!("changed: {before} → {said}"));
        let verdict = match attempt.error_class {
            None => badge("delivered", "✓", &said),
            Some(_) => badge("failed", "✕", &said),
        };
        before = Some(said);
        AttemptView {
            number: attempt.number,
            at: attempt.started_at,
            duration: measured(Duration::from_millis(
                u64::try_from(attempt.duration_ms).unwrap_or(0),
            )),
            verdict,
            error: attempt.error.clone(),
            headers: answered_headers(attempt)
                .filter(|_| may_see)
                .unwrap_or_default(),
            answer: answer(attempt, ANSWER).filter(|_| may_see),
            answer_is_long: is_longer(attempt, ANSWER),
            answer_is_cut: attempt.response_truncated == Some(true),
            cause: cause(attempt),
            url: attempt.url.as_deref().map(|url| shown_url(url, visitor)),
            version: attempt.subscription_version,
            advice: advice(attempt, timeout),
            change,
            sent_at: attempt.started_at.as_second(),
        }
    });
    views.collect()
}

/// What came of it, in few words.
fn said(attempt: &Attempt) -> String {
    match (attempt.http_status, attempt.error_class.as_deref()) {
        (Some(status), None | Some("http_status")) => named_status(status),
        (_, Some(class)) => class.replace('_', " "),
        (None, None) => "succeeded".to_owned(),
    }
}

/// The answer, or its first `limit` bytes.
fn answer(attempt: &Attempt, limit: usize) -> Option<String> {
    match &attempt.response_body {
        Some(body) if !body.is_empty() => {
            let shown = body.get(..between_characters(body, limit)).unwrap_or(body);
            Some(String::from_utf8_lossy(shown).into_owned())
        }
        Some(_) | None => attempt.response_excerpt.clone(),
    }
}

fn is_longer(attempt: &Attempt, limit: usize) -> bool {
    let body = attempt.response_body.as_ref();
    body.is_some_and(|body| body.len() > limit)
}

/// The last place at or before `limit` that is not in the middle of a character.
pub(super) fn between_characters(bytes: &[u8], limit: usize) -> usize {
    let is_between = |at: &usize| bytes.get(*at).is_none_or(|byte| byte & 0xC0 != 0x80);
    // A character has four bytes at most; what has more is no UTF-8.
    let mut places = (limit.saturating_sub(4)..=limit).rev();
    places.find(is_between).unwrap_or(limit).min(bytes.len())
}

fn answered_headers(attempt: &Attempt) -> Option<Vec<String>> {
    let headers = attempt.response_headers.as_ref()?.as_object()?;
    let line = |(name, value): (&String, &serde_json::Value)| match value.as_str() {
        Some(value) => format!("{name}: {value}"),
        None => format!("{name}: {value}"),
    };
    Some(headers.iter().map(line).collect())
}

fn cause(attempt: &Attempt) -> Option<String> {
    let what = match attempt.trigger {
        Trigger::Schedule => return None,
        Trigger::Retry => "retried by hand",
        Trigger::RetryMany => "retried with others",
        Trigger::Replay => "sent again",
        Trigger::Probe => "a probe of the circuit breaker",
        Trigger::Test => "a test",
    };
    Some(match &attempt.actor {
        Some(actor) => format!("{what}, by {}", who(actor)),
        None => what.to_owned(),
    })
}

#[derive(Template)]
#[template(path = "answer.html")]
struct AnswerPage {
    shell: Shell,
    id: String,
    number: i32,
    answer: Option<String>,
    is_cut: bool,
}

/// All that was kept of what one attempt was answered.
pub async fn answered(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    Path((id, number)): Path<(String, String)>,
) -> Result<Response, Fault> {
    let days = retention_days(state.api.settings.retention());
    let not_found = || Fault::not_found("attempt", &format!("{id}/{number}"), days);
    let delivery: DeliveryId = id.parse().map_err(|_| not_found())?;
    let number: i32 = number.parse().map_err(|_| not_found())?;
    let mut client = state.api.store.get().await?;
    let transaction = tenant_transaction(&mut client, visitor.tenant()).await?;
    let before = number.saturating_add(1);
    let found = attempt_log::attempts(&transaction, delivery, before, 1).await?;
    let found = found.into_iter().find(|attempt| attempt.number == number);
    let attempt = found.ok_or_else(not_found)?;
    drop(transaction);
    page(&AnswerPage {
        shell: visitor.shell(Place::Deliveries, format!("Answer to attempt {number}")),
        id: delivery.to_string(),
        number,
        answer: answer(&attempt, usize::MAX),
        is_cut: attempt.response_truncated == Some(true),
    })
}
