//! What a page says where it cannot show what was asked for: what, why, and what to do now.

use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;

use super::capability::Capability;
use super::session::Unsigned;
use crate::api::error::Problem;
use crate::db::PoolError;
use crate::delivery::manual::ManualError;

/// Rendered once the request has passed all layers, in the shell of who asked.
#[derive(Clone, Debug)]
pub struct Fault {
    pub status: StatusCode,
    /// As in the API's refusals.
    pub code: &'static str,
    pub title: String,
    pub detail: String,
    /// What to do, as a path and its words.
    pub next: Option<Box<(String, String)>>,
    /// As the API's refusal has it.
    pub retry_after: Option<Box<HeaderValue>>,
    /// Nothing of it was done: others were changing the same.
    pub is_deadlock: bool,
}

impl Fault {
    pub fn new(
        status: StatusCode,
        code: &'static str,
        title: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Fault {
            status,
            code,
            title: title.into(),
            detail: detail.into(),
            next: None,
            retry_after: None,
            is_deadlock: false,
        }
    }

    pub fn with_next(mut self, path: impl Into<String>, words: impl Into<String>) -> Self {
        self.next = Some(Box::new((path.into(), words.into())));
        self
    }

    /// There is none, it is another tenant's, or its retention has ended.
    pub fn not_found(what: &str, id: &str, retention_days: u64) -> Self {
        let id: String = id.chars().take(60).collect();
        Fault::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("There is no such {what}"),
            format!(
                "No {what} of yours has the id {id}. Events and deliveries are kept for \
                 {retention_days} days; an older one has been deleted."
            ),
        )
    }

    pub fn unsigned(why: &Unsigned) -> Self {
        let detail = match why {
            Unsigned::Never => "Nobody is signed in in this browser.".to_owned(),
            Unsigned::Ended { why, at } => {
                let at = at.strftime("%-d %B, %H:%M UTC");
                match why.as_str() {
                    "revoked" => format!("Your session was ended at {at}."),
                    "idle" => {
                        format!("Your session ended at {at}, an hour after you last used it.")
                    }
                    _ => format!("Your session ended at {at}."),
                }
            }
        };
        Fault::new(
            StatusCode::UNAUTHORIZED,
            "signed_out",
            "You are not signed in",
            format!(
                "{detail} Open the webhooks page of your application again: it gives you a new link."
            ),
        )
    }

    pub fn lacks(capability: Capability) -> Self {
        Fault::new(
            StatusCode::FORBIDDEN,
            "capability_missing",
            "Your session may not do this",
            format!(
                "It needs the capability `{capability}`: to {}. Whoever made your link can make one \
                 that has it.",
                capability.permits()
            ),
        )
    }

    pub fn invalid(code: &'static str, detail: impl Into<String>) -> Self {
        Fault::new(
            StatusCode::BAD_REQUEST,
            code,
            "That cannot be done as it is written",
            detail,
        )
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        let status = problem.status();
        let title = match status {
            StatusCode::NOT_FOUND => "There is none",
            StatusCode::CONFLICT => "Not as things are now",
            StatusCode::TOO_MANY_REQUESTS => "Too much at once",
            StatusCode::SERVICE_UNAVAILABLE => "Not available at the moment",
            _ if status.is_server_error() => "The server failed",
            _ => "That cannot be done as it is written",
        };
        let detail = match status {
            StatusCode::SERVICE_UNAVAILABLE => format!(
                "{}. Webhooks are delivered meanwhile; only these pages wait.",
                problem.detail()
            ),
            _ => problem.detail().to_owned(),
        };
        Fault {
            retry_after: problem.retry_after().cloned().map(Box::new),
            is_deadlock: problem.is_deadlock(),
            ..Fault::new(status, problem.code(), title, detail)
        }
    }
}

impl From<PoolError> for Fault {
    fn from(error: PoolError) -> Self {
        Problem::from(error).into()
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Problem::from(error).into()
    }
}

impl From<ManualError> for Fault {
    fn from(error: ManualError) -> Self {
        Problem::from(error).into()
    }
}

impl From<super::links::RedeemError> for Fault {
    fn from(error: super::links::RedeemError) -> Self {
        match error {
            super::links::RedeemError::Pool(error) => error.into(),
            super::links::RedeemError::Store(error) => error.into(),
        }
    }
}

impl From<askama::Error> for Fault {
    fn from(error: askama::Error) -> Self {
        tracing::error!(error = %error, "A page of the console cannot be rendered");
        Problem::internal().into()
    }
}

/// When something ended that is kept for so long.
pub fn retention_days(retention: std::time::Duration) -> u64 {
    retention.as_secs().div_ceil(86_400)
}

/// A time of the past for a sentence.
pub fn spoken(at: Timestamp) -> String {
    at.strftime("%-d %B, %H:%M UTC").to_string()
}
