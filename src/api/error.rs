//! Errors as callers of the API meet them: RFC 9457 `application/problem+json`.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio_postgres::error::SqlState;
use tracing::{error, warn};
use utoipa::ToSchema;

use super::deadlock::Deadlocked;
use crate::db::PoolError;
use crate::delivery::manual::ManualError;

/// What went wrong and what to do about it (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "type": "about:blank",
    "title": "Bad Request",
    "status": 400,
    "code": "invalid_url",
    "detail": "the URL must begin with `https://`"
})))]
pub struct Problem {
    /// Always `about:blank`: the status says the kind, `code` the case.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status' name.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// The case, for programs: it does not change between releases.
    code: &'static str,
    /// The case, for people.
    detail: String,
    #[serde(skip)]
    header: Option<Box<(HeaderName, HeaderValue)>>,
    #[serde(skip)]
    deadlocked: bool,
}

/// Seconds after which a caller may ask an overloaded or restarting server again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Problem {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            code,
            detail: detail.into(),
            header: None,
            deadlocked: false,
        }
    }

    /// What was asked cannot be, as it is written.
    pub fn invalid(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// There is none, or it is another tenant's: the two are never told apart.
    pub fn not_found(what: &str, id: &str) -> Self {
        // An id of ours has 40 characters; more of a stranger's text helps nobody.
        let id: String = id.chars().take(60).collect();
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("there is no {what} `{id}`"),
        )
    }

    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    pub fn unavailable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
            .with_header(header::RETRY_AFTER, RETRY_AFTER)
    }

    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the server failed; its log says why",
        )
    }

    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub fn code(&self) -> &'static str {
        self.code
    }

    pub fn detail(&self) -> &str {
        &self.detail
    }

    pub fn retry_after(&self) -> Option<&HeaderValue> {
        let (name, value) = self.header.as_deref()?;
        (name == header::RETRY_AFTER).then_some(value)
    }

    /// PostgreSQL broke the transaction off to end a deadlock.
    pub fn is_deadlock(&self) -> bool {
        self.deadlocked
    }

    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some(Box::new((name, value)));
        self
    }

    fn store_unreachable() -> Self {
        Self::unavailable(
            "store_unavailable",
            "walhook's store does not answer: try again in a few seconds",
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        if self.deadlocked {
            response.extensions_mut().insert(Deadlocked);
        }
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(header) = self.header {
            let (name, value) = *header;
            headers.insert(name, value);
        }
        response
    }
}

impl From<PoolError> for Problem {
    fn from(error: PoolError) -> Self {
        // No connection to be had, whatever the server's reason: nothing was begun.
        warn!(error = %chain(&error), "No connection of the store for the API");
        Self::store_unreachable()
    }
}

impl From<tokio_postgres::Error> for Problem {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(database) = error.as_db_error() else {
            // The connection, not the statement: the server is gone or restarting.
            warn!(error = %chain(&error), "The store broke off a request of the API");
            return Self::store_unreachable();
        };
        // The detail and hint may quote values, the message and the code do not.
        let (code, message) = (database.code().code(), database.message());
        let passing = [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::TOO_MANY_CONNECTIONS,
            SqlState::READ_ONLY_SQL_TRANSACTION,
        ];
        if passing.contains(database.code()) || code.starts_with("08") {
            warn!(code, message, "The store refused a request of the API");
            return Self::store_unreachable();
        }
        // Times come from the caller alone.
        if *database.code() == SqlState::DATETIME_FIELD_OVERFLOW {
            return Self::invalid(
                "invalid_time",
                "a time is none that the store knows: it must be between the years -4712 and 294276",
            );
        }
        if *database.code() == SqlState::T_R_DEADLOCK_DETECTED {
            warn!(code, message, "A call of the API ran into a deadlock");
            return Problem {
                deadlocked: true,
                ..Self::unavailable("deadlock", "others were changing the same: try again")
            };
        }
        // A NUL in a text, which JSON and query strings may hold and PostgreSQL may not.
        let text = [
            SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            SqlState::UNTRANSLATABLE_CHARACTER,
        ];
        if text.contains(database.code()) {
            return Self::invalid("invalid_text", "a text holds a NUL character: leave it out");
        }
        error!(code, message, "A statement of the API failed");
        Self::internal()
    }
}

impl From<ManualError> for Problem {
    fn from(error: ManualError) -> Self {
        match error {
            ManualError::Pool(error) => error.into(),
            ManualError::Store(error) => error.into(),
            ManualError::Partitions(error) => error.into(),
        }
    }
}

impl From<anyhow::Error> for Problem {
    fn from(error: anyhow::Error) -> Self {
        error!(error = %format!("{error:#}"), "A request of the API failed");
        Self::internal()
    }
}

/// An error with its causes: that of tokio-postgres alone says only `db error`.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
