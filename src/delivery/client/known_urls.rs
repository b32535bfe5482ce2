//! Endpoints' URLs that were parsed and found allowed. Parsing costs a tenth of an
//! attempt, and what the text alone can tell does not change while the process lives.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::Uri;

use super::destination::parse_url;
use super::{ErrorClass, SecurityConfig, SendError};

/// URLs that are remembered: more than a process has endpoints, and few enough that
/// those of subscriptions that are gone cost little.
const MOST: usize = 16_384;

#[derive(Default)]
pub(super) struct KnownUrls(Mutex<HashMap<String, Known>>);

/// Where an allowed URL leads.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) uri: Uri,
    /// For messages.
    pub(super) host: Arc<str>,
}

impl KnownUrls {
    pub(super) fn parse(&self, text: &str, security: &SecurityConfig) -> Result<Known, SendError> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(text) {
            return Ok(known.clone());
        }
        let url = parse_url(text, security)?;
        let refused = |_| {
            let message = "the request cannot be made of this URL";
            SendError::new(ErrorClass::Request, message)
        };
        let made = Known {
            uri: Uri::try_from(url.as_str()).map_err(refused)?,
            host: url.host_str().unwrap_or_default().into(),
        };
        let mut known = lock();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(text.to_owned(), made.clone());
        Ok(made)
    }
}
