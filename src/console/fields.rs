//! What a form or a query string holds: names and values, as texts.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use bytes::Bytes;
use url::form_urlencoded;

use super::fault::Fault;
use crate::api::error::Problem;

/// Fields in their order. What a page does not know of it leaves alone.
#[derive(Clone, Debug, Default)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    pub fn parse(text: &[u8]) -> Self {
        Fields(form_urlencoded::parse(text).into_owned().collect())
    }

    /// The first value of this name that is not blank, without the blanks around it.
    pub fn get(&self, name: &str) -> Option<&str> {
        let values = self.0.iter().filter(|(found, _)| found == name);
        values
            .map(|(_, value)| value.trim())
            .find(|value| !value.is_empty())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let of_name = self.0.iter().filter(move |(found, _)| found == name);
        of_name
            .map(|(_, value)| value.trim())
            .filter(|value| !value.is_empty())
    }

    /// The first value of this name exactly as it came.
    pub fn exact(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

/// A query string of these fields, with its `?`; empty where there are none.
pub fn query<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields {
        text.append_pair(name, value);
    }
    match text.finish() {
        empty if empty.is_empty() => empty,
        text => format!("?{text}"),
    }
}

/// The query string of a request.
pub struct Asked(pub Fields);

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        let query = parts.uri.query().unwrap_or_default();
        Ok(Asked(Fields::parse(query.as_bytes())))
    }
}

/// The form that a request posts. That it came from one of our pages is checked before.
pub struct Posted(pub Fields);

impl<S: Send + Sync> FromRequest<S> for Posted {
    type Rejection = Fault;

    async fn from_request(request: Request, state: &S) -> Result<Self, Fault> {
        let bytes = Bytes::from_request(request, state).await;
        let bytes = bytes.map_err(|error| Fault::from(Problem::from(error)))?;
        Ok(Posted(Fields::parse(&bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_by_name_and_blank_ones_are_absent() {
        let fields = Fields::parse(b"a=1&b=+&a=2&c=%20x%20&d=%zz");
        assert_eq!(fields.get("a"), Some("1"));
        assert_eq!(fields.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(fields.get("b"), None);
        assert_eq!(fields.get("c"), Some("x"));
        assert_eq!(fields.exact("c"), Some(" x "));
        assert!(fields.has("d") && !fields.has("e"));
    }

    #[test]
    fn a_query_escapes_what_it_holds() {
        assert_eq!(query([]), "");
        assert_eq!(query([("a", "x&y=\"z\"")]), "?a=x%26y%3D%22z%22");
    }
}
