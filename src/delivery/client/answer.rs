//! What of an endpoint's answer is kept as it came, so that its owner sees what it said.
//!
//! A success keeps its content type alone. A failure keeps chosen headers and the beginning
//! of its body. Both may be foreign text of any kind: nothing here is printed or logged.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Map, Value};

/// Of a failure's body. Error pages of common frameworks fit, and the store's limit for a
/// value within a row does not matter: it is compressed, and stands outside the row.
const MAX_BODY: usize = 16 * 1024;

/// Of the chosen headers, names and values together.
const MAX_HEADERS: usize = 2 * 1024;

/// Of a content type. A registered name has 127 characters at most (RFC 6838), and a boundary 70.
const MAX_CONTENT_TYPE: usize = 255;

/// Bodies in memory, all attempts together, beyond the first KiB of each. While the store is
/// away thousands of results wait: what is beyond is cut off.
const MAX_HELD: usize = 8 * 1024 * 1024;

/// Kept whatever is held already.
const ALWAYS: usize = 1024;

/// Headers that help to find out what an endpoint did with a request. Others may hold
/// credentials, such as cookies, or are many.
const CHOSEN: [&str; 24] = [
    "age",
    "allow",
    "cache-control",
    "cf-ray",
    "content-encoding",
    "content-length",
    "date",
    "location",
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
    "request-id",
    "retry-after",
    "server",
    "traceparent",
    "via",
    "www-authenticate",
    "x-amz-cf-id",
    "x-amzn-requestid",
    "x-amzn-trace-id",
    "x-cache",
    "x-correlation-id",
    "x-powered-by",
    "x-request-id",
];

/// Of an answer, or of its part that came.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Answer {
    pub content_type: Option<Box<str>>,
    /// Of an answer that is no success, where answers are kept.
    pub failure: Option<Arc<FailureAnswer>>,
}

/// Without headers and body: receivers echo what they were sent.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("content_type", &self.content_type)
            .finish_non_exhaustive()
    }
}

/// What an endpoint said with a failure.
pub struct FailureAnswer {
    /// An object of the chosen headers; none where there were none of them.
    pub headers: Option<Value>,
    /// None where it was empty.
    pub body: Option<Vec<u8>>,
    /// There was more of it, or it broke off.
    pub is_cut_off: bool,
    _held: Held,
}

impl PartialEq for FailureAnswer {
    fn eq(&self, other: &Self) -> bool {
        let said = |answer: &Self| (answer.headers.clone(), answer.is_cut_off);
        said(self) == said(other) && self.body == other.body
    }
}

impl Eq for FailureAnswer {}

impl Answer {
    /// Of the headers.
    pub(super) fn begin(headers: &HeaderMap) -> Self {
        let content_type = headers.get(CONTENT_TYPE).map(printable);
        let content_type = content_type.filter(|text| !text.is_empty());
        Answer {
            content_type: content_type.map(|mut text| {
                text.truncate(text.floor_char_boundary(MAX_CONTENT_TYPE));
                text.into_boxed_str()
            }),
            failure: None,
        }
    }
}

/// The answer of a failure as it comes in.
pub(super) struct Incoming {
    headers: Option<Value>,
    body: Vec<u8>,
    is_cut_off: bool,
    held: Held,
}

impl Incoming {
    pub(super) fn begin(headers: &HeaderMap, memory: &Memory) -> Self {
        Incoming {
            headers: chosen(headers),
            body: Vec::new(),
            is_cut_off: false,
            held: Held {
                memory: memory.clone(),
                bytes: 0,
            },
        }
    }

    pub(super) fn push(&mut self, chunk: &[u8]) {
        let wanted = MAX_BODY.min(self.body.len() + chunk.len());
        let admitted = ALWAYS + self.held.grow_to(wanted.saturating_sub(ALWAYS));
        let room = admitted.saturating_sub(self.body.len());
        self.is_cut_off |= room < chunk.len();
        self.body.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }

    /// `is_whole`: the answer has ended, and nothing of it was left unread.
    pub(super) fn end(self, is_whole: bool) -> Arc<FailureAnswer> {
        Arc::new(FailureAnswer {
            headers: self.headers,
            body: Some(self.body).filter(|body| !body.is_empty()),
            is_cut_off: self.is_cut_off || !is_whole,
            _held: self.held,
        })
    }
}

/// The bytes that answers hold in memory.
#[derive(Clone, Default)]
pub(super) struct Memory(Arc<AtomicUsize>);

/// Some of them, given back with the answer that they are of.
struct Held {
    memory: Memory,
    bytes: usize,
}

impl Held {
    /// Takes more, if there is; returns how much it has.
    fn grow_to(&mut self, bytes: usize) -> usize {
        let more = bytes.saturating_sub(self.bytes);
        let admitted = |held| Some(held + more).filter(|held| *held <= MAX_HELD);
        let held = &self.memory.0;
        let relaxed = Ordering::Relaxed;
        if more > 0 && held.fetch_update(relaxed, relaxed, admitted).is_ok() {
            self.bytes = bytes;
        }
        self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn chosen(headers: &HeaderMap) -> Option<Value> {
    let mut kept = Map::new();
    let mut bytes = 0;
    for name in CHOSEN {
        let values = headers.get_all(name).iter().map(printable);
        let value = values.collect::<Vec<String>>().join(", ");
        if value.is_empty() {
            continue;
        }
        let size = name.len() + value.len();
        if bytes + size > MAX_HEADERS {
            continue;
        }
        bytes += size;
        kept.insert(name.to_owned(), Value::String(value));
    }
    (!kept.is_empty()).then_some(Value::Object(kept))
}

/// A header's value may have bytes that are no UTF-8, and tabs.
fn printable(value: &HeaderValue) -> String {
    let text = String::from_utf8_lossy(value.as_bytes());
    text.chars().filter(|char| !char.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let value = HeaderValue::from_bytes(value).unwrap();
            (reqwest::header::HeaderName::from_static(name), value)
        });
        pairs.collect()
    }

    fn whole(headers: &HeaderMap, body: &[u8]) -> Arc<FailureAnswer> {
        let mut incoming = Incoming::begin(headers, &Memory::default());
        body.chunks(4096).for_each(|chunk| incoming.push(chunk));
        incoming.end(true)
    }

    #[test]
    fn headers_that_are_not_chosen_are_left_out() {
        let kept = whole(
            &headers(&[
                ("server", b"nginx"),
                ("set-cookie", b"session=1"),
                ("retry-after", b"5\tx\xff"),
            ]),
            b"",
        );
        let expected = serde_json::json!({"retry-after": "5x\u{fffd}", "server": "nginx"});
        assert_eq!(kept.headers, Some(expected));
        assert_eq!(whole(&headers(&[("set-cookie", b"a")]), b"").headers, None);
    }

    #[test]
    fn headers_and_content_type_that_are_long_are_cut() {
        let long = vec![b'x'; 3 * MAX_HEADERS];
        let headers = headers(&[("location", &long), ("content-type", &long), ("age", b"1")]);
        let answer = Answer::begin(&headers);
        assert_eq!(answer.content_type.unwrap().len(), MAX_CONTENT_TYPE);
        let kept = whole(&headers, b"");
        assert_eq!(kept.headers, Some(serde_json::json!({"age": "1"})));
    }

    #[test]
    fn body_is_kept_as_it_came_up_to_its_limit() {
        let none = HeaderMap::new();
        let kept = whole(&none, b"{\n\x00\xff}");
        assert_eq!(kept.body.as_deref(), Some(&b"{\n\x00\xff}"[..]));
        assert!(!kept.is_cut_off);
        let kept = whole(&none, &[b'x'; MAX_BODY]);
        assert_eq!(kept.body.as_ref().map(Vec::len), Some(MAX_BODY));
        assert!(!kept.is_cut_off);
        let kept = whole(&none, &[b'x'; MAX_BODY + 1]);
        assert_eq!(kept.body.as_ref().map(Vec::len), Some(MAX_BODY));
        assert!(kept.is_cut_off);
        assert_eq!(whole(&none, b"").body, None);
        let incoming = Incoming::begin(&none, &Memory::default());
        assert!(incoming.end(false).is_cut_off);
    }

    #[test]
    fn answers_in_memory_are_bounded_together() {
        let memory = Memory::default();
        let failed = || {
            let mut incoming = Incoming::begin(&HeaderMap::new(), &memory);
            incoming.push(&[b'x'; MAX_BODY]);
            incoming.end(true)
        };
        let held: Vec<_> = (0..MAX_HELD / (MAX_BODY - ALWAYS))
            .map(|_| failed())
            .collect();
        let last = failed();
        assert_eq!(last.body.as_ref().map(Vec::len), Some(ALWAYS));
        assert!(last.is_cut_off);
        drop(held);
        assert!(!failed().is_cut_off);
    }
}
