//! Why an exchange failed, in classes that users can filter by.

use std::error::Error;
use std::io;
use std::time::Duration;

use super::resolver::ResolveError;
use super::{Answer, HeaderError, UrlError};
use crate::duration::HumanDuration;

/// What kind of failure an attempt met; stored as `error_class`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The endpoint answered, but not with 2xx.
    HttpStatus,
    /// The exchange did not end within its deadline.
    Timeout,
    /// No TCP connection: refused, reset or not answered in time.
    Connect,
    /// The name gave no address.
    Dns,
    /// No TLS session, most often for a certificate that is not trusted.
    Tls,
    /// The address is not public, or the port is not admitted.
    Blocked,
    /// Connected, but the answer was broken off or is no HTTP.
    Response,
    /// The request could not be made.
    Request,
}

impl ErrorClass {
    pub const ALL: [ErrorClass; 8] = [
        ErrorClass::HttpStatus,
        ErrorClass::Timeout,
        ErrorClass::Connect,
        ErrorClass::Dns,
        ErrorClass::Tls,
        ErrorClass::Blocked,
        ErrorClass::Response,
        ErrorClass::Request,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            ErrorClass::HttpStatus => "http_status",
            ErrorClass::Timeout => "timeout",
            ErrorClass::Connect => "connect",
            ErrorClass::Dns => "dns",
            ErrorClass::Tls => "tls",
            ErrorClass::Blocked => "blocked",
            ErrorClass::Response => "response",
            ErrorClass::Request => "request",
        }
    }
}

/// No answer came, or none that counts. The message is for the tenant: it names the host, and
/// neither path, query, headers nor body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SendError {
    pub class: ErrorClass,
    pub message: String,
    /// The status, where the headers came and the body failed.
    pub status: Option<u16>,
    /// As far as it came.
    pub answer: Answer,
}

impl SendError {
    pub(in crate::delivery) fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        SendError {
            class,
            message: message.into(),
            status: None,
            answer: Answer::default(),
        }
    }

    pub(super) fn timeout(after: Duration, answered: bool) -> Self {
        let after = HumanDuration(after);
        let message = if answered {
            format!("the answer did not end within {after}")
        } else {
            format!("no answer within {after}")
        };
        SendError::new(ErrorClass::Timeout, message)
    }

    /// Judges by the types in the chain of causes, never by their texts.
    pub(super) fn classify(error: &reqwest::Error, host: &str) -> Self {
        if let Some(cause) = find::<ResolveError>(error) {
            let class = match cause {
                ResolveError::NotPublic(_) | ResolveError::Port => ErrorClass::Blocked,
                ResolveError::LookUp(_) => ErrorClass::Dns,
            };
            return SendError::new(class, format!("`{host}` {cause}"));
        }
        if let Some(cause) = find::<rustls::Error>(error) {
            let message = format!("no TLS session with `{host}`: {cause}");
            return SendError::new(ErrorClass::Tls, message);
        }
        // The kind and not the text, which may name the address.
        let kind = find::<io::Error>(error).map(io::Error::kind);
        let reason = kind.map_or(String::new(), |kind| format!(": {kind}"));
        if error.is_connect() {
            tracing::debug!(host, reason, timeout = error.is_timeout(), "no connection");
        }
        if error.is_builder() {
            let message = "the request cannot be made of this URL";
            SendError::new(ErrorClass::Request, message)
        } else if error.is_connect() {
            // Which of them would tell a tenant what listens there.
            let message = format!("no connection to `{host}`: refused, reset or not answered");
            SendError::new(ErrorClass::Connect, message)
        } else {
            let message = format!("`{host}` broke off the exchange or did not speak HTTP{reason}");
            SendError::new(ErrorClass::Response, message)
        }
    }
}

impl From<UrlError> for SendError {
    fn from(error: UrlError) -> Self {
        let class = match error {
            UrlError::NotPublic { .. } | UrlError::PortNotAdmitted(_) => ErrorClass::Blocked,
            UrlError::TooLong(_)
            | UrlError::Malformed(_)
            | UrlError::NotHttps
            | UrlError::NotHttp
            | UrlError::UserInfo
            | UrlError::Fragment
            | UrlError::Port(_) => ErrorClass::Request,
        };
        SendError::new(class, error.to_string())
    }
}

impl From<HeaderError> for SendError {
    fn from(error: HeaderError) -> Self {
        SendError::new(ErrorClass::Request, error.to_string())
    }
}

/// The first cause of type `T` in the chain. An `io::Error` hides what it wraps from
/// `source()`, so that its inside is looked at too.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(inside) => Some(inside),
            None => error.source(),
        };
    }
    None
}
