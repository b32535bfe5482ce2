//! Which connections of this process answer, and which do not: what `/readyz` and the log say
//! of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::Purpose;
use crate::episode::Episode;

/// A statement without an answer for this long, or connections that fail for this long, are a
/// fault. Below the deadlines of most statements, so that `/readyz` does not wait for these.
const SILENCE: Duration = Duration::from_secs(14);

/// A purpose that does not try any more is not at fault for its last try.
const STALE: Duration = Duration::from_secs(45);

/// The connections of one process to one database.
#[derive(Debug)]
pub struct Monitor {
    /// `store` or `source`.
    database: &'static str,
    start: Instant,
    /// Whether any purpose fails: spares each answer the look at `purposes`.
    any_failing: AtomicBool,
    purposes: Mutex<BTreeMap<String, Attempts>>,
    sessions: Mutex<Vec<(String, Weak<Pending>)>>,
}

#[derive(Debug, Default)]
struct Attempts {
    episode: Episode,
    last_failure: Option<Instant>,
    /// When the last episode ended.
    recovered: Option<Instant>,
    error: String,
}

/// The statements of one session that wait for their answers.
#[derive(Debug)]
pub(super) struct Pending {
    monitor: Option<Arc<Monitor>>,
    name: String,
    statements: AtomicUsize,
    /// When the last answer came, or the first of these statements was sent; milliseconds
    /// since the monitor began.
    heard: AtomicU64,
}

/// A purpose whose connection does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// The session's name.
    pub name: String,
    pub database: &'static str,
    pub lasting: Duration,
    /// Empty where a statement still waits.
    pub error: String,
}

impl Monitor {
    pub fn new(database: &'static str) -> Arc<Self> {
        Arc::new(Monitor {
            database,
            start: Instant::now(),
            any_failing: AtomicBool::new(false),
            purposes: Mutex::default(),
            sessions: Mutex::default(),
        })
    }

    /// What has not answered for so long that the process cannot be called ready.
    pub fn silences(&self) -> Vec<Silence> {
        let mut silences: BTreeMap<String, Silence> = BTreeMap::new();
        let mut add = |name: &str, lasting: Duration, error: &str| {
            let known = silences.get(name).map(|silence| silence.lasting);
            if lasting >= SILENCE && known.is_none_or(|known| known < lasting) {
                let silence = Silence {
                    name: name.to_owned(),
                    database: self.database,
                    lasting,
                    error: error.to_owned(),
                };
                silences.insert(name.to_owned(), silence);
            }
        };
        let purposes = self.lock();
        for (name, attempts) in purposes.iter() {
            let recent = attempts.last_failure.is_some_and(|at| at.elapsed() < STALE);
            if let Some(since) = attempts.episode.since().filter(|_| recent) {
                add(name, since.elapsed(), &attempts.error);
            }
        }
        drop(purposes);
        let mut sessions = self.lock_sessions();
        sessions.retain(|(_, pending)| pending.strong_count() > 0);
        for (name, pending) in sessions.iter() {
            let silent = pending.upgrade().and_then(|pending| pending.silent());
            if let Some(lasting) = silent {
                add(name, lasting, "");
            }
        }
        silences.into_values().collect()
    }

    /// A connection could not be made, or was given up. `began`: when it was tried, or asked.
    pub(super) fn failed(&self, name: &str, began: Instant, error: &anyhow::Error) {
        let mut purposes = self.lock();
        let attempts = purposes.entry(name.to_owned()).or_default();
        // One that began before the last answer came says nothing of the time since.
        if attempts.recovered.is_some_and(|at| at > began) {
            tracing::debug!(error = format!("{error:#}"), "no answer for `{name}`");
            return;
        }
        self.any_failing.store(true, Ordering::Relaxed);
        // The failures of one episode follow one another.
        if attempts.last_failure.is_some_and(|at| at.elapsed() > STALE) {
            attempts.episode = Episode::default();
        }
        attempts.last_failure = Some(Instant::now());
        attempts.error = format!("{error:#}");
        let what = format!("no answer from the {} for `{name}`", self.database);
        attempts.episode.failed(&what, error);
    }

    fn answered(&self, name: &str) {
        if !self.any_failing.load(Ordering::Relaxed) {
            return;
        }
        let mut purposes = self.lock();
        if let Some(attempts) = purposes.get_mut(name) {
            let what = format!("no answer from the {} for `{name}`", self.database);
            attempts.episode.succeeded(&what);
            attempts.recovered = Some(Instant::now());
        }
        let failing = purposes.values().any(|one| one.episode.since().is_some());
        self.any_failing.store(failing, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Attempts>> {
        self.purposes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_sessions(&self) -> std::sync::MutexGuard<'_, Vec<(String, Weak<Pending>)>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    pub(super) fn new(monitor: Option<Arc<Monitor>>, purpose: Purpose) -> Arc<Self> {
        let name = purpose.application_name();
        let pending = Arc::new(Pending {
            monitor: monitor.clone(),
            name: name.clone(),
            statements: AtomicUsize::new(0),
            heard: AtomicU64::new(0),
        });
        if let Some(monitor) = monitor {
            let mut sessions = monitor.lock_sessions();
            sessions.retain(|(_, pending)| pending.strong_count() > 0);
            sessions.push((name, Arc::downgrade(&pending)));
        }
        pending
    }

    pub(super) fn begin(&self) {
        let Some(monitor) = &self.monitor else { return };
        if self.statements.fetch_add(1, Ordering::Relaxed) == 0 {
            self.heard.store(monitor.now(), Ordering::Relaxed);
        }
    }

    /// An answer came, be it an error of the server's.
    pub(super) fn answered(&self) {
        let Some(monitor) = &self.monitor else { return };
        self.heard.store(monitor.now(), Ordering::Relaxed);
        self.statements.fetch_sub(1, Ordering::Relaxed);
        monitor.answered(&self.name);
    }

    /// No answer came, or its caller has gone.
    pub(super) fn given_up(&self, began: Instant, error: Option<&anyhow::Error>) {
        let Some(monitor) = &self.monitor else { return };
        self.statements.fetch_sub(1, Ordering::Relaxed);
        if let Some(error) = error {
            monitor.failed(&self.name, began, error);
        }
    }

    fn silent(&self) -> Option<Duration> {
        let monitor = self.monitor.as_ref()?;
        if self.statements.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let heard = self.heard.load(Ordering::Relaxed);
        Some(Duration::from_millis(monitor.now().saturating_sub(heard)))
    }
}
