//! What handlers take out of a request. Every refusal is a [`Problem`] that says where
//! and why.

use std::sync::Arc;

use axum::RequestPartsExt as _;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query as AxumQuery, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::error::Problem;
use crate::audit::Caller;

/// Whose request it is, put there by the authentication.
#[derive(Clone, Debug)]
pub struct Tenant(pub Arc<str>);

impl<S: Sync> FromRequestParts<S> for Tenant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Absent only where a route was left outside the authentication: fail closed.
        let tenant = parts.extensions.get::<Tenant>().cloned();
        tenant.ok_or_else(Problem::internal)
    }
}

/// For the audit log.
impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Caller>().cloned();
        caller.ok_or_else(Problem::internal)
    }
}

/// A JSON body. A field that is unknown or of another type is refused by its name.
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        check_content_type(&request)?;
        let bytes = Bytes::from_request(request, state).await?;
        parse(&bytes).map(Body)
    }
}

/// A JSON body that may be left out.
pub struct OptionalBody<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let typed = check_content_type(&request);
        let bytes = Bytes::from_request(request, state).await?;
        if bytes.is_empty() {
            return Ok(OptionalBody(T::default()));
        }
        typed?;
        parse(&bytes).map(OptionalBody)
    }
}

fn check_content_type(request: &Request) -> Result<(), Problem> {
    let essence = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|value| value.trim().to_ascii_lowercase());
    match essence.as_deref() {
        Some("application/json" | "application/merge-patch+json") => Ok(()),
        _ => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not_json",
            "send the body as JSON, with the header `Content-Type: application/json`",
        )),
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        // serde_json ends its message with "at line L column C".
        if error.is_data() {
            Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid_body",
                format!("the JSON does not fit what this call takes: {error}"),
            )
        } else {
            Problem::invalid("malformed_json", format!("the body is not JSON: {error}"))
        }
    })
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            return Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "the body is larger than `api.body_limit` admits",
            );
        }
        Problem::invalid("unreadable_body", "the body broke off before its end")
    }
}

/// The query string. An unknown parameter is refused by its name.
pub struct Query<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        AxumQuery::try_from_uri(&parts.uri)
            .map(|AxumQuery(query)| Query(query))
            .map_err(|rejection| Problem::invalid("invalid_query", rejection.body_text()))
    }
}

/// The `{id}` of the path, as text: what is no id at all is as absent as an unknown one.
pub struct PathId(pub String);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let path: Result<Path<String>, PathRejection> = parts.extract().await;
        path.map(|Path(id)| PathId(id))
            .map_err(|_| Problem::not_found("resource", ""))
    }
}

impl PathId {
    pub fn parse<T: std::str::FromStr>(&self, what: &str) -> Result<T, Problem> {
        self.0
            .parse()
            .map_err(|_| Problem::not_found(what, &self.0))
    }
}

/// Rows on a page where the caller does not say.
const DEFAULT_LIMIT: u16 = 50;
/// Rows on a page at most: they are held in memory.
const MAX_LIMIT: u16 = 200;

/// Reads `limit`: from 1 to 200, 50 where it is left out.
pub fn limit(limit: Option<u16>) -> Result<i64, Problem> {
    match limit.unwrap_or(DEFAULT_LIMIT) {
        limit @ 1..=MAX_LIMIT => Ok(i64::from(limit)),
        limit => Err(Problem::invalid(
            "invalid_limit",
            format!("`limit` is {limit}: use 1 to {MAX_LIMIT}"),
        )),
    }
}

/// Reads a cursor: the ids by which the last row of the page before has its place.
pub fn cursor<const N: usize>(cursor: Option<&str>) -> Result<Option<[Uuid; N]>, Problem> {
    let Some(cursor) = cursor else {
        return Ok(None);
    };
    let bytes = URL_SAFE_NO_PAD.decode(cursor).unwrap_or_default();
    let ids = bytes.chunks(16).map(Uuid::from_slice);
    let ids: Result<Vec<Uuid>, _> = ids.collect();
    let ids = ids.ok().and_then(|ids| ids.try_into().ok());
    ids.map(Some).ok_or_else(|| {
        Problem::invalid(
            "invalid_cursor",
            "`cursor` is not one of ours: pass the `next_cursor` of the page before, or leave it out",
        )
    })
}

/// Cuts a page to `limit` rows and, where one more was found, says where the next begins.
pub fn page<T, const N: usize>(
    mut rows: Vec<T>,
    limit: i64,
    place: fn(&T) -> [Uuid; N],
) -> (Vec<T>, Option<String>) {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| more).map(place);
    (rows, last.map(next_cursor))
}

/// The cursor of what comes after a place.
pub fn next_cursor<const N: usize>(place: [Uuid; N]) -> String {
    URL_SAFE_NO_PAD.encode(place.map(Uuid::into_bytes).concat())
}

/// A path or query value that names something of ours, as in `sub_…`.
pub fn parse_id<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, Problem>
where
    T::Err: std::fmt::Display,
{
    text.parse()
        .map_err(|error: T::Err| Problem::invalid("invalid_id", format!("`{name}`: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_anything_else_is_refused() {
        let ids: Vec<Uuid> = (0..3).map(|_| Uuid::now_v7()).collect();
        let (rows, next) = page(ids.clone(), 2, |id| [*id]);
        assert_eq!(rows, ids[..2]);
        assert_eq!(cursor(next.as_deref()).unwrap(), Some([ids[1]]));
        assert!(cursor::<2>(next.as_deref()).is_err(), "of another list");
        let (_, next) = page(ids.clone(), 1, |id| [*id, Uuid::max()]);
        assert_eq!(
            cursor(next.as_deref()).unwrap(),
            Some([ids[0], Uuid::max()])
        );
        assert_eq!(page(ids, 3, |id| [*id]).1, None);
        for text in ["", "x", "AAAA", "😀", "'; drop table"] {
            assert!(cursor::<1>(Some(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn limits_are_bounded() {
        assert_eq!(limit(None).unwrap(), 50);
        assert!(limit(Some(0)).is_err() && limit(Some(201)).is_err());
    }
}
