//! Endpoints' URLs that were parsed and found allowed. Parsing costs a tenth of an
//! attempt, and what the text alone can tell does not change while the process lives.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use url::Url;

use super::SecurityConfig;
use super::destination::{UrlError, parse_url};

/// URLs that are remembered: more than a process has endpoints, and few enough that
/// those of subscriptions that are gone cost little.
const MOST: usize = 16_384;

#[derive(Default)]
pub(super) struct KnownUrls(Mutex<HashMap<String, Url>>);

impl KnownUrls {
    pub(super) fn parse(&self, text: &str, security: &SecurityConfig) -> Result<Url, UrlError> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(text) {
            return Ok(known.clone());
        }
        let url = parse_url(text, security)?;
        let mut known = lock();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(text.to_owned(), url.clone());
        Ok(url)
    }
}
