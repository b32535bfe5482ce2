//! Endpoints' URLs that were parsed and found allowed. Parsing costs a tenth of an
//! attempt, and what the text alone can tell does not change while the process lives.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use url::Url;

use super::destination::{parse_url, port_not_admitted};
use super::{SecurityConfig, UrlError};

/// URLs that are remembered: more than a process has endpoints, and few enough that
/// those of subscriptions that are gone cost little.
const MOST: usize = 16_384;

#[derive(Default)]
pub(super) struct KnownUrls(Mutex<HashMap<String, Known>>);

/// Where an allowed URL leads.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) url: Url,
    /// For messages.
    pub(super) host: Arc<str>,
    /// Only addresses of `security.allow_networks` are sent to at its port.
    pub(super) inside: bool,
}

impl KnownUrls {
    pub(super) fn parse(&self, text: &str, security: &SecurityConfig) -> Result<Known, UrlError> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(text) {
            return Ok(known.clone());
        }
        let url = parse_url(text, security)?;
        let made = Known {
            host: url.host_str().unwrap_or_default().into(),
            inside: port_not_admitted(&url, security).is_some(),
            url,
        };
        let mut known = lock();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(text.to_owned(), made.clone());
        Ok(made)
    }
}
