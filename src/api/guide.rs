//! The guide at `/docs`: pages that need no script and nothing of another host.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::error::Problem;
use crate::docs::{CONFIGURATION, PAGES};

/// The pages as they are served, by name: rendered once, as anyone may ask for them.
static RENDERED: LazyLock<HashMap<&str, Bytes>> = LazyLock::new(|| {
    let pages = PAGES
        .iter()
        .map(|one| (one.name, page(one.title(), &one.html())));
    let others = [("", contents()), ("configuration", configuration())];
    let all = pages.chain(others);
    all.map(|(name, page)| (name, page.into())).collect()
});

/// The list of pages.
pub async fn index() -> Response {
    named("")
}

/// One page, by its name.
pub async fn named_page(Path(name): Path<String>) -> Response {
    named(&name)
}

fn named(name: &str) -> Response {
    match RENDERED.get(name) {
        Some(page) => answer(page.clone()),
        None => Problem::new(
            StatusCode::NOT_FOUND,
            "no_page",
            format!("the guide has no page `{name}`: /docs lists them"),
        )
        .into_response(),
    }
}

fn contents() -> String {
    let mut body = String::from("<h1>walhook</h1><table>");
    let mut line = |name: &str, title: &str, about: &str| {
        let (title, about) = (escape(title), escape(about));
        let link = format!("<a href=\"/docs/{name}\">{title}</a>");
        let _ = write!(body, "<tr><td>{link}</td><td>{about}</td></tr>");
    };
    for page in PAGES {
        line(page.name, page.title(), page.summary);
    }
    line(
        "api",
        "The API",
        "Every call, for tenants and their programs",
    );
    line(
        "configuration",
        "Configuration",
        "Every key of the configuration, with its default",
    );
    body.push_str("</table><p>For programs: <a href=\"/openapi.json\">/openapi.json</a></p>");
    page("guide", &body)
}

/// The commented configuration, with its defaults.
fn configuration() -> String {
    let body = format!("<h1>Configuration</h1><pre>{}</pre>", escape(CONFIGURATION));
    page("Configuration", &body)
}

/// A page as an answer, with the one style that it needs admitted.
pub fn answer(page: Bytes) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ),
    ];
    (headers, page).into_response()
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}\
h1,h2,h3{line-height:1.2}h3{margin:2rem 0 .25rem}code,pre{font:14px/1.45 ui-monospace,monospace}\
pre{background:#f4f5f7;padding:.75rem;overflow:auto;border-radius:6px}\
table{border-collapse:collapse;width:100%;margin:.5rem 0}td,th{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #e1e4e8}\
a{color:#0b5cad}.m{display:inline-block;min-width:4.5rem;font-weight:600;color:#0b5cad}\
@media(prefers-color-scheme:dark){body{color:#d8dee6;background:#14171b}pre{background:#1f242a}td,th{border-color:#333a42}.m,a{color:#6cb2ff}}";

/// A whole page around `body`.
pub fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{} · walhook</title><style>{STYLE}</style></head><body><nav><a href=\"/docs\">Guide</a> · \
         <a href=\"/docs/api\">API</a></nav>{body}</body></html>",
        escape(title)
    )
}

pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
