//! Which headers a subscriber may add to its requests.

use std::collections::BTreeMap;

use super::{HeaderName, HeaderValue};

const MAX_HEADERS: usize = 20;
const MAX_NAME_BYTES: usize = 128;
/// Long enough for a bearer token that is a JWT.
const MAX_VALUE_BYTES: usize = 4096;
/// Many servers refuse more than 8 KiB of headers; ours need some hundred bytes.
const MAX_TOTAL_BYTES: usize = 7 * 1024;

/// Headers that frame the message or belong to one hop (RFC 9110 §7.6.1, RFC 9112), that
/// walhook sets itself, or from which proxies and frameworks take the caller's address, the URL
/// or the method: a receiver behind one would trust the tenant's value.
const RESERVED: [&str; 25] = [
    "accept-encoding",
    "cf-connecting-ip",
    "connection",
    "expect",
    "fastly-client-ip",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "user-agent",
    "via",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
    "x-webhook-signature",
];
/// `content-` describes the body, which is ours.
const RESERVED_PREFIXES: [&str; 4] = ["content-", "proxy-", "webhook-", "x-forwarded-"];

/// Why custom headers are refused. Never quotes a value.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HeaderError {
    #[error("there are {0} custom headers: use at most {MAX_HEADERS}")]
    TooMany(usize),
    #[error("the custom headers have {0} bytes together: use at most {MAX_TOTAL_BYTES}")]
    TooLarge(usize),
    #[error(
        "`{0}` is not the name of a header: use at most {MAX_NAME_BYTES} letters, digits and hyphens"
    )]
    Name(String),
    #[error("the header `{0}` is set by walhook or by the connection and cannot be overridden")]
    Reserved(String),
    #[error("the header `{0}` is given twice, in different case or with `_` for `-`")]
    Duplicate(String),
    #[error(
        "the value of the header `{0}` must be at most {MAX_VALUE_BYTES} visible ASCII characters, without line breaks"
    )]
    Value(String),
}

/// Checks the custom headers of a subscription.
pub fn check_headers(headers: &BTreeMap<String, String>) -> Result<(), HeaderError> {
    if headers.len() > MAX_HEADERS {
        return Err(HeaderError::TooMany(headers.len()));
    }
    let mut names = std::collections::HashSet::new();
    let mut total = 0;
    for (name, value) in headers {
        let short = || name.escape_debug().take(MAX_NAME_BYTES).collect::<String>();
        let parsed = HeaderName::try_from(name.as_str())
            .ok()
            .filter(|_| name.len() <= MAX_NAME_BYTES)
            .ok_or_else(|| HeaderError::Name(short()))?;
        // CGI and its heirs make `_` of `-`, and cannot tell the two apart.
        let lower = parsed.as_str().replace('_', "-");
        let prefixed = |prefix: &&str| lower.starts_with(*prefix);
        if RESERVED.contains(&lower.as_str()) || RESERVED_PREFIXES.iter().any(prefixed) {
            return Err(HeaderError::Reserved(name.clone()));
        }
        // The type would take non-ASCII too, which servers read as they please.
        let sendable = value.is_ascii() && HeaderValue::try_from(value.as_str()).is_ok();
        if value.len() > MAX_VALUE_BYTES || !sendable {
            return Err(HeaderError::Value(name.clone()));
        }
        // `: ` and the line's end count too.
        total += name.len() + value.len() + 4;
        if !names.insert(lower) {
            return Err(HeaderError::Duplicate(name.clone()));
        }
    }
    if total > MAX_TOTAL_BYTES {
        return Err(HeaderError::TooLarge(total));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(&str, &str)]) -> Result<(), HeaderError> {
        let owned = headers.iter().map(|(n, v)| ((*n).into(), (*v).into()));
        check_headers(&owned.collect())
    }

    #[test]
    fn ordinary_headers_pass() {
        check(&[
            ("Authorization", "Bearer abc.def"),
            ("x-api-key", "k"),
            ("X-Empty", ""),
        ])
        .unwrap();
        check(&[]).unwrap();
    }

    #[test]
    fn framing_signing_and_hop_by_hop_headers_are_reserved_in_any_case() {
        for name in [
            "Host",
            "CONTENT-LENGTH",
            "Content-Type",
            "Transfer-Encoding",
            "connection",
            "Keep-Alive",
            "TE",
            "Trailer",
            "Upgrade",
            "Expect",
            "Proxy-Authorization",
            "proxy-anything",
            "Webhook-Id",
            "webhook-signature",
            "WEBHOOK-anything",
            "X-Webhook-Signature",
            "User-Agent",
            "Accept-Encoding",
            "Content_Length",
            "Transfer_Encoding",
            "webhook_id",
            "Forwarded",
            "X-Forwarded-For",
            "x_forwarded_host",
            "X-Real-IP",
            "X-HTTP-Method-Override",
            "Via",
        ] {
            let error = HeaderError::Reserved(name.into());
            assert_eq!(check(&[(name, "x")]), Err(error));
        }
    }

    #[test]
    fn what_would_break_the_message_is_refused() {
        for value in ["a\r\nb", "a\nb", "a\rb", "a\0b", "a\u{7f}", "é", "\u{1}"] {
            let error = HeaderError::Value("x-a".into());
            assert_eq!(check(&[("x-a", value)]), Err(error), "{value:?}");
        }
        for name in ["", "a b", "a:b", "a\r\nb", "é", ":path", "a\0"] {
            let result = check(&[(name, "x")]);
            assert!(matches!(result, Err(HeaderError::Name(_))), "{name:?}");
        }
    }

    #[test]
    fn sizes_are_limited() {
        let long = "x".repeat(MAX_VALUE_BYTES + 1);
        assert_eq!(
            check(&[("x-a", &long)]),
            Err(HeaderError::Value("x-a".into()))
        );
        let full = "x".repeat(MAX_VALUE_BYTES);
        let result = check(&[("x-a", &full), ("x-b", &full)]);
        assert!(matches!(result, Err(HeaderError::TooLarge(_))));
        let many: BTreeMap<_, _> = (0..21).map(|n| (format!("x-{n}"), String::new())).collect();
        assert_eq!(check_headers(&many), Err(HeaderError::TooMany(21)));
        let twice = check(&[("X-A", "1"), ("x-a", "2")]);
        assert_eq!(twice, Err(HeaderError::Duplicate("x-a".into())));
    }
}
