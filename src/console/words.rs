//! What became of a delivery and how an endpoint is, in sentences, and who did something.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::capability::Capability;
use super::fault::{Fault, spoken};
use super::markup::{distance, measured, named_status};
use super::shell::Visitor;
use crate::api::subscription_health::Condition;
use crate::audit::{Principal, PrincipalKind};
use crate::conninfo::Transaction;
use crate::delivery::attempt_log::Attempt;
use crate::delivery::listing::{Delivery, Status};
use crate::delivery::stats::{self, Last};
use crate::subscription::host;
use crate::subscription::queries::{self, StoredSubscription, SubscriptionId};

/// A tenant has at most so many endpoints on a page that names them.
const ENDPOINTS: i64 = 1000;

/// The endpoints of a tenant, to call them by their names.
pub struct Endpoints {
    pub all: Vec<StoredSubscription>,
    by_id: HashMap<Uuid, usize>,
}

/// How a page names an endpoint.
#[derive(Clone, Debug)]
pub struct EndpointName {
    pub id: String,
    /// Host and path: queries may hold tokens.
    pub address: String,
    pub description: Option<String>,
    pub is_deleted: bool,
}

impl Endpoints {
    pub async fn read(transaction: &Transaction<'_>) -> Result<Self, Fault> {
        let all = queries::list(transaction, Uuid::max(), ENDPOINTS).await?;
        let by_id = all.iter().enumerate().map(|(at, one)| (one.id.0, at));
        Ok(Endpoints {
            by_id: by_id.collect(),
            all,
        })
    }

    pub fn get(&self, id: SubscriptionId) -> Option<&StoredSubscription> {
        self.by_id.get(&id.0).and_then(|at| self.all.get(*at))
    }

    pub fn name(&self, id: SubscriptionId) -> EndpointName {
        match self.get(id) {
            Some(found) => EndpointName::of(found),
            None => EndpointName {
                id: id.to_string(),
                address: "deleted endpoint".to_owned(),
                description: None,
                is_deleted: true,
            },
        }
    }

    /// When each last took something, and when it failed.
    pub async fn last_results(
        &self,
        transaction: &Transaction<'_>,
    ) -> Result<HashMap<SubscriptionId, Last>, Fault> {
        let ids: Vec<Uuid> = self.all.iter().map(|one| one.id.0).collect();
        Ok(stats::last(transaction, &ids).await?)
    }

    pub fn names(&self) -> Vec<EndpointName> {
        self.all.iter().map(EndpointName::of).collect()
    }
}

impl EndpointName {
    pub fn of(endpoint: &StoredSubscription) -> Self {
        EndpointName {
            id: endpoint.id.to_string(),
            address: address(&endpoint.url),
            description: endpoint.description.clone(),
            is_deleted: false,
        }
    }

    /// As people say it.
    pub fn title(&self) -> &str {
        match &self.description {
            Some(text) if !text.trim().is_empty() => text,
            _ => &self.address,
        }
    }
}

/// Host, port and path of a URL; of what follows them only that it is there.
pub fn address(url: &str) -> String {
    let Ok(parsed) = url::Url::parse(url) else {
        return "(no URL)".to_owned();
    };
    let mut text = parsed.host_str().unwrap_or_default().to_owned();
    if let Some(port) = parsed.port() {
        text = format!("{text}:{port}");
    }
    if parsed.path() != "/" {
        text.push_str(parsed.path());
    }
    if parsed.query().is_some() {
        text.push_str("?…");
    }
    text
}

/// A URL as somebody may see it: its query may hold a secret of the receiver.
pub fn shown_url(url: &str, visitor: &Visitor) -> String {
    let may_see = visitor.may(Capability::Payloads) || visitor.may(Capability::Manage);
    match url.split_once('?') {
        Some((before, _)) if !may_see => format!("{before}?…"),
        _ => url.to_owned(),
    }
}

/// Who it was, as far as it is a tenant's business.
pub fn who(principal: &Principal) -> String {
    let named = || principal.actor.as_ref().unwrap_or(&principal.name);
    match principal.kind {
        PrincipalKind::Operator | PrincipalKind::Command => "the operator".to_owned(),
        PrincipalKind::Walhook => "walhook itself".to_owned(),
        PrincipalKind::Token => format!("the token {}", named()),
        PrincipalKind::Jwt | PrincipalKind::Portal => named().clone(),
    }
}

/// What became of a delivery, in one sentence or two.
pub fn state_sentence(
    delivery: &Delivery,
    last: Option<&Attempt>,
    first_attempt_at: Option<Timestamp>,
    endpoint: Option<&StoredSubscription>,
    now: Timestamp,
) -> String {
    let who = endpoint.map_or_else(|| "the endpoint".to_owned(), |one| host(&one.url));
    let said = last.map(|attempt| outcome(attempt, &who));
    let several = last.is_some_and(|last| last.number > 1);
    let took = first_attempt_at.zip(last).map(|(first, last)| {
        let between = last.started_at.as_millisecond() - first.as_millisecond();
        measured(Duration::from_millis(u64::try_from(between).unwrap_or(0)))
    });
    match delivery.status {
        Status::Delivered if several => format!(
            "Delivered at attempt {} over {}: {}.",
            delivery.attempts,
            took.unwrap_or_default(),
            said.unwrap_or_default()
        ),
        Status::Delivered => match said {
            Some(said) => format!("Delivered at the first attempt: {said}."),
            None => "Delivered.".to_owned(),
        },
        Status::Failed => format!(
            "Failed after {}{}: {}. It is not tried again by itself.",
            match delivery.attempts {
                1 => "1 attempt".to_owned(),
                many => format!("{many} attempts"),
            },
            took.filter(|_| several)
                .map_or_else(String::new, |took| format!(" in {took}")),
            said.unwrap_or_else(|| "its last attempt failed".to_owned())
        ),
        Status::Pending => {
            let next = match delivery.next_attempt_at {
                Some(at) if at <= now => "It is due now.".to_owned(),
                Some(at) => format!("The next attempt is {}.", distance(at, now)),
                None => "It waits for what stands before it.".to_owned(),
            };
            match said {
                Some(said) => format!("Attempt {} failed: {said}. {next}", delivery.attempts),
                None => format!("Not sent yet. {next}"),
            }
        }
        Status::InFlight => "It is being sent at this moment, or is next.".to_owned(),
        Status::Cancelled => {
            "Cancelled: its endpoint was deleted before it was delivered.".to_owned()
        }
        Status::Parked => match delivery.parked_reason.as_deref() {
            Some("oversized") => {
                "Parked: its body is larger than what is sent to endpoints.".to_owned()
            }
            _ => "Parked: its endpoint is disabled. It is sent once that is enabled.".to_owned(),
        },
    }
}

/// `billing.acme.com answered 500 Internal Server Error in 184 ms`.
fn outcome(attempt: &Attempt, who: &str) -> String {
    let took = measured(Duration::from_millis(
        u64::try_from(attempt.duration_ms).unwrap_or(0),
    ));
    match (attempt.http_status, attempt.error_class.as_deref()) {
        (Some(status), None | Some("http_status")) => {
            format!("{who} answered {} in {took}", named_status(status))
        }
        (_, Some("timeout")) => format!("{who} did not answer in time ({took})"),
        (_, Some("connect")) => format!("no connection to {who}"),
        (_, Some("dns")) => format!("the name {who} gave no address"),
        (_, Some("tls")) => format!("no TLS session with {who}"),
        (_, Some("blocked")) => format!("the address of {who} is not admitted"),
        (_, Some("response")) => format!("the answer of {who} broke off"),
        (_, _) => match &attempt.error {
            Some(error) => error.clone(),
            None => format!("{who} was sent to, {took}"),
        },
    }
}

/// The state of an endpoint: its class, shape and word, and what that means now.
pub struct EndpointState {
    pub class: &'static str,
    pub shape: &'static str,
    pub word: &'static str,
    pub sentence: String,
}

/// As the API has it, in a sentence.
pub fn endpoint_state(endpoint: &StoredSubscription, last: Option<&Last>) -> EndpointState {
    let condition = Condition::of(endpoint, last.unwrap_or(&Last::default()));
    let (class, shape, sentence) = match condition {
        Condition::Paused => (
            "parked",
            "❚❚",
            "Paused by hand: what comes in is not sent.".to_owned(),
        ),
        Condition::Disabled => {
            let reason = endpoint.disabled_reason.as_deref().unwrap_or_default();
            let sentence = format!("Disabled: {reason}. What comes in is not sent.");
            ("failed", "✕", sentence)
        }
        Condition::Unreadable => {
            let reason = endpoint.unreadable_reason.as_deref().unwrap_or_default();
            let sentence = format!("Nothing can be sent until this is put right: {reason}.");
            ("failed", "✕", sentence)
        }
        Condition::Probing => {
            let sentence = match endpoint.breaker.as_str() {
                "half_open" => "Being probed: one request decides whether the rest follows.",
                _ => {
                    "Failing: its circuit breaker is open after failures in a row. It is probed with \
                     one request now and then, and the rest waits."
                }
            };
            ("pending", "↻", sentence.to_owned())
        }
        Condition::Failing => {
            let since = endpoint.failing_since.map(spoken).unwrap_or_default();
            let sentence = format!("Failing since {since}: nothing has succeeded since then.");
            ("pending", "↻", sentence)
        }
        Condition::New => (
            "delivered",
            "✓",
            "New: nothing was sent to it yet.".to_owned(),
        ),
        Condition::Ok => (
            "delivered",
            "✓",
            "Active: events are sent as they come.".to_owned(),
        ),
    };
    EndpointState {
        class,
        shape,
        word: condition.as_str(),
        sentence,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::delivery::cause::Trigger;

    pub(in crate::console) fn attempt(class: Option<&str>, status: Option<i16>) -> Attempt {
        Attempt {
            number: 1,
            started_at: Timestamp::UNIX_EPOCH,
            duration_ms: 184,
            http_status: status,
            error_class: class.map(str::to_owned),
            error: None,
            response_excerpt: None,
            content_type: None,
            response_headers: None,
            response_body: None,
            response_truncated: None,
            trigger: Trigger::Schedule,
            actor: None,
            subscription_version: None,
            url: None,
        }
    }

    #[test]
    fn an_address_hides_what_may_be_a_token() {
        assert_eq!(address("https://a.example/h?token=x"), "a.example/h?…");
        assert_eq!(address("https://a.example:8443/"), "a.example:8443");
        assert_eq!(address("nonsense"), "(no URL)");
    }

    #[test]
    fn an_outcome_names_the_host_and_the_answer() {
        assert_eq!(
            outcome(&attempt(Some("http_status"), Some(500)), "a.example"),
            "a.example answered 500 Internal Server Error in 184 ms"
        );
        assert_eq!(
            outcome(&attempt(Some("dns"), None), "a.example"),
            "the name a.example gave no address"
        );
    }
}
