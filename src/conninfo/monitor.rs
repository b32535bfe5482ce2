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

/// A statement that may take longer than this, such as a chunk of a table or a tenant's
/// request, is not taken for silent while it runs: only when its deadline has passed.
const LONGEST: Duration = Duration::from_secs(20);

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
    purposes: Mutex<BTreeMap<Purpose, Attempts>>,
    sessions: Mutex<Vec<Weak<Pending>>>,
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
    purpose: Purpose,
    /// Whether it is silent before the deadline of its statements has passed.
    judged: AtomicBool,
    statements: AtomicUsize,
    /// When the last answer came, or the first of these statements was sent; milliseconds
    /// since the monitor began.
    heard: AtomicU64,
}

/// A purpose whose connection does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    pub purpose: Purpose,
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
        let mut silences: BTreeMap<Purpose, Silence> = BTreeMap::new();
        let mut add = |purpose: Purpose, lasting: Duration, error: &str| {
            let known = silences.get(&purpose).map(|silence| silence.lasting);
            if lasting >= SILENCE && known.is_none_or(|known| known < lasting) {
                let silence = Silence {
                    purpose,
                    database: self.database,
                    lasting,
                    error: error.to_owned(),
                };
                silences.insert(purpose, silence);
            }
        };
        let purposes = self.lock();
        for (purpose, attempts) in purposes.iter() {
            let recent = attempts.last_failure.is_some_and(|at| at.elapsed() < STALE);
            if let Some(since) = attempts.episode.since().filter(|_| recent) {
                add(*purpose, since.elapsed(), &attempts.error);
            }
        }
        drop(purposes);
        let mut sessions = self.lock_sessions();
        sessions.retain(|pending| pending.strong_count() > 0);
        for pending in sessions.iter().filter_map(Weak::upgrade) {
            if let Some(lasting) = pending.silent() {
                add(pending.purpose, lasting, "");
            }
        }
        silences.into_values().collect()
    }

    /// A connection could not be made, or failed after its begin. `began`: when it was tried, or asked.
    pub(super) fn failed(&self, purpose: Purpose, began: Instant, error: &anyhow::Error) {
        let mut purposes = self.lock();
        let attempts = purposes.entry(purpose).or_default();
        // One that began before the last answer came says nothing of the time since.
        if attempts.recovered.is_some_and(|at| at > began) {
            let name = purpose.application_name();
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
        attempts.episode.failed(&self.unanswered(purpose), error);
    }

    fn answered(&self, purpose: Purpose) {
        if !self.any_failing.load(Ordering::Relaxed) {
            return;
        }
        let mut purposes = self.lock();
        if let Some(attempts) = purposes.get_mut(&purpose) {
            attempts.episode.succeeded(&self.unanswered(purpose));
            attempts.recovered = Some(Instant::now());
        }
        let failing = purposes.values().any(|one| one.episode.since().is_some());
        self.any_failing.store(failing, Ordering::Relaxed);
    }

    /// What fails, for the log.
    fn unanswered(&self, purpose: Purpose) -> String {
        let name = purpose.application_name();
        format!("no answer from the {} for `{name}`", self.database)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Purpose, Attempts>> {
        self.purposes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_sessions(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Pending>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    pub(super) fn new(monitor: Option<Arc<Monitor>>, purpose: Purpose) -> Arc<Self> {
        let pending = Arc::new(Pending {
            monitor: monitor.clone(),
            purpose,
            judged: AtomicBool::new(true),
            statements: AtomicUsize::new(0),
            heard: AtomicU64::new(0),
        });
        if let Some(monitor) = monitor {
            let mut sessions = monitor.lock_sessions();
            sessions.retain(|pending| pending.strong_count() > 0);
            sessions.push(Arc::downgrade(&pending));
        }
        pending
    }

    /// How long each statement may take from now on.
    pub(super) fn set_deadline(&self, deadline: Duration) {
        self.judged.store(deadline <= LONGEST, Ordering::Relaxed);
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
        monitor.answered(self.purpose);
    }

    /// No answer came, or its caller has gone.
    pub(super) fn given_up(&self, began: Instant, error: Option<&anyhow::Error>) {
        let Some(monitor) = &self.monitor else { return };
        self.statements.fetch_sub(1, Ordering::Relaxed);
        if let Some(error) = error {
            monitor.failed(self.purpose, began, error);
        }
    }

    fn silent(&self) -> Option<Duration> {
        let monitor = self.monitor.as_ref()?;
        let judged = self.judged.load(Ordering::Relaxed);
        if !judged || self.statements.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let heard = self.heard.load(Ordering::Relaxed);
        Some(Duration::from_millis(monitor.now().saturating_sub(heard)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that began a minute ago, and a statement for `purpose` that it has sent then.
    fn waiting_for(purpose: Purpose) -> (Arc<Monitor>, Arc<Pending>) {
        let mut monitor = Monitor::new("store");
        let began = Instant::now().checked_sub(Duration::from_secs(60));
        Arc::get_mut(&mut monitor).unwrap().start = began.unwrap();
        let pending = Pending::new(Some(Arc::clone(&monitor)), purpose);
        pending.set_deadline(purpose.deadline());
        pending.statements.store(1, Ordering::Relaxed);
        (monitor, pending)
    }

    #[test]
    fn a_statement_that_may_take_long_is_silent_only_once_its_deadline_has_passed() {
        let short = [
            Purpose::Enqueuer,
            Purpose::Reader,
            Purpose::Recorder,
            Purpose::Claims,
            Purpose::Membership,
            Purpose::Listen,
            Purpose::Housekeeping,
            Purpose::Watch,
            Purpose::HarmWatch,
            Purpose::Heartbeat,
            Purpose::Reload,
        ];
        for purpose in short {
            let (monitor, _pending) = waiting_for(purpose);
            let silences = monitor.silences();
            assert!(silences.len() == 1 && silences[0].purpose == purpose);
        }
        for purpose in [Purpose::Api, Purpose::Seed, Purpose::Backfill] {
            let (monitor, pending) = waiting_for(purpose);
            assert!(monitor.silences().is_empty(), "{purpose:?}");
            let began = Instant::now().checked_sub(SILENCE).unwrap();
            pending.given_up(began, Some(&anyhow::anyhow!("no answer")));
            let since = monitor.lock()[&purpose].episode.since();
            assert!(since.is_some(), "{purpose:?}");
        }
        // Also one whose limit is raised.
        let (monitor, pending) = waiting_for(Purpose::Watch);
        pending.set_deadline(Duration::from_secs(600));
        assert!(monitor.silences().is_empty());
    }
}
