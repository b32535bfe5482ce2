//! Who is signed in: the session of a request's cookie, as the store has it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderValue, header};
use jiff::Timestamp;
use uuid::Uuid;

use super::State;
use super::capability::{self, Capability};
use super::code::{Code, FormToken};
use super::fault::Fault;
use crate::api::PublicUrl;
use crate::api::auth::{Check, Standing};
use crate::db::Store;

/// A session ends without a request for so long.
pub const IDLE: Duration = Duration::from_secs(3600);
/// How long a session is admitted without asking the store: a revoked one lives no longer.
const CACHE_TIME: Duration = Duration::from_secs(5);
/// Sessions in memory at most; beyond, the cache starts over.
const CACHE_SIZE: usize = 10_000;

/// Somebody of a tenant, in a browser.
pub struct Session {
    pub id: Uuid,
    pub tenant: Arc<str>,
    pub actor: String,
    pub capabilities: Vec<Capability>,
    pub expires_at: Timestamp,
    /// What its forms carry.
    pub form_token: FormToken,
}

impl Session {
    pub fn may(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }
}

/// Why a request has none.
pub enum Unsigned {
    /// It came without a cookie, or with one that the store does not know.
    Never,
    /// `revoked`, `expired` or `idle`, and when that was.
    Ended { why: String, at: Timestamp },
}

/// The sessions of the last seconds, by their cookies' hashes.
#[derive(Default)]
pub struct Cache(Mutex<HashMap<[u8; 32], Known>>);

/// Sessions are noted as used so often at most: as find_session.sql has it.
const NOTED: Duration = Duration::from_secs(30);

/// What the store said.
struct Known {
    asked_at: Instant,
    /// When a use was last recorded in the store, if ever.
    used_at: Option<Instant>,
    session: Arc<Session>,
}

/// Whether somebody asks, or a page that lies open by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    Somebody,
    Page,
}

impl Asks {
    /// The script asks only for what changes by itself, and follows what happens.
    pub fn of(headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT);
        let follows = accept.is_some_and(|value| value == "text/event-stream");
        match follows || headers.contains_key("hx-request") {
            true => Asks::Page,
            false => Asks::Somebody,
        }
    }
}

impl Cache {
    /// One that was asked for in the last seconds, and whose use the store knows of.
    pub fn get(&self, hash: &[u8; 32], asks: Asks) -> Option<Arc<Session>> {
        let cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = cache.get(hash)?;
        let is_noted = match asks {
            Asks::Page => true,
            Asks::Somebody => known.used_at.is_some_and(|at| at.elapsed() < NOTED),
        };
        let is_fresh =
            known.asked_at.elapsed() < CACHE_TIME && known.session.expires_at > Timestamp::now();
        (is_fresh && is_noted).then(|| Arc::clone(&known.session))
    }

    fn put(&self, hash: [u8; 32], asked_at: Instant, asks: Asks, session: &Arc<Session>) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= CACHE_SIZE {
            cache.retain(|_, known| known.asked_at.elapsed() < CACHE_TIME);
            if cache.len() >= CACHE_SIZE {
                cache.clear();
            }
        }
        let used_at = match asks {
            Asks::Somebody => Some(asked_at),
            Asks::Page => cache.get(&hash).and_then(|known| known.used_at),
        };
        let known = Known {
            asked_at,
            used_at,
            session: Arc::clone(session),
        };
        cache.insert(hash, known);
    }

    /// Forgets what this process knows of sessions that end now.
    pub fn forget(&self, id: Uuid) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache.retain(|_, known| known.session.id != id);
    }
}

/// Asks the store for the session of a cookie.
pub async fn find(
    store: &Store,
    cache: &Cache,
    cookie: &Code,
    asks: Asks,
) -> Result<Result<Arc<Session>, Unsigned>, Fault> {
    let hash = cookie.hash();
    let asked_at = Instant::now();
    let client = store.get().await?;
    let row = client
        .query_opt(
            include_str!("../../sql/queries/console/find_session.sql"),
            &[
                &hash.as_slice(),
                &IDLE.as_secs_f64(),
                &(asks == Asks::Somebody),
            ],
        )
        .await?;
    let Some(row) = row else {
        return Ok(Err(Unsigned::Never));
    };
    if let Some(why) = row.get("ended") {
        let at = row.get("ends_at");
        return Ok(Err(Unsigned::Ended { why, at }));
    }
    let session = Arc::new(Session {
        id: row.get("id"),
        tenant: Arc::from(row.get::<_, &str>("tenant_id")),
        actor: row.get("actor"),
        capabilities: capability::of_names(&row.get::<_, Vec<String>>("capabilities")),
        expires_at: row.get("expires_at"),
        form_token: cookie.form_token(),
    });
    cache.put(hash, asked_at, asks, &session);
    Ok(Ok(session))
}

/// Asks whether the session of a request goes on, by a page that lies open.
pub fn check(state: &Arc<State>, headers: &HeaderMap) -> Check {
    let public_url = state.public_url.as_ref();
    let cookie = public_url.and_then(|public_url| cookie(headers, public_url));
    let (state, cookie) = (Arc::clone(state), cookie.map(Arc::new));
    Box::new(move || {
        let (state, cookie) = (Arc::clone(&state), cookie.clone());
        Box::pin(async move {
            let Some(cookie) = cookie else {
                return Standing::Ended;
            };
            if state.sessions.get(&cookie.hash(), Asks::Page).is_some() {
                return Standing::Admitted;
            }
            match find(&state.api.store, &state.sessions, &cookie, Asks::Page).await {
                Ok(Ok(_)) => Standing::Admitted,
                Ok(Err(_)) => Standing::Ended,
                Err(_) => Standing::Unknown,
            }
        })
    })
}

/// The name of the cookie. Without https a browser takes no `Secure` one, and then there is no
/// such prefix either.
fn name(public_url: &PublicUrl) -> &'static str {
    match public_url.is_secure() {
        true => "__Host-walhook-portal",
        false => "walhook-portal",
    }
}

/// The cookie of a request, where there is one that could be ours.
pub fn cookie(headers: &HeaderMap, public_url: &PublicUrl) -> Option<Code> {
    Code::parse(value_of(headers, name(public_url))?)
}

/// The value of a cookie, by its name.
pub fn value_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).into_iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value)
}

/// Sets the cookie for as long as the session lasts; without one, deletes it.
pub fn set_cookie(public_url: &PublicUrl, cookie: Option<(&Code, Duration)>) -> HeaderValue {
    let name = name(public_url);
    let secure = match public_url.is_secure() {
        true => "; Secure",
        false => "",
    };
    let (value, seconds) = cookie.map_or(("", 0), |(code, lasts)| (code.text(), lasts.as_secs()));
    let text = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    let mut value = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_read_among_others() {
        let url = PublicUrl::parse("https://hooks.example.com").unwrap();
        let code = Code::generate();
        let mut headers = HeaderMap::new();
        assert!(cookie(&headers, &url).is_none());
        let line = format!("a=b; __Host-walhook-portal={}; c", code.text());
        headers.append(header::COOKIE, HeaderValue::try_from(line).unwrap());
        assert_eq!(cookie(&headers, &url).unwrap().hash(), code.hash());
        let plain = PublicUrl::parse("http://127.0.0.1:1").unwrap();
        assert!(cookie(&headers, &plain).is_none());
    }

    #[test]
    fn the_cookie_is_bound_to_its_host() {
        let code = Code::generate();
        let set = |url: &str| {
            let url = PublicUrl::parse(url).unwrap();
            let value = set_cookie(&url, Some((&code, Duration::from_secs(60))));
            value.to_str().unwrap().to_owned()
        };
        let secure = set("https://hooks.example.com");
        assert!(secure.starts_with("__Host-walhook-portal="));
        assert!(secure.ends_with("; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"));
        assert!(!set("http://localhost:1").contains("Secure"));
    }
}
