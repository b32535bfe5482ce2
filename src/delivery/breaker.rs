//! One endpoint's circuit breaker: when to stop sending, and how to begin again.
//!
//! Closed, attempts flow. An endpoint that is new, or of which the last that was heard
//! is bad, is on trial: one attempt at a time until one succeeds. What it earned grows
//! by 1, 2, 4 … attempts at a time, and a failure halves it. On 5 consecutive failures, or when more than half of at
//! least 20 results in the window failed, it opens, and nothing is sent for
//! 10 s·2ⁿ, at most 15 min, where n counts the openings before without a calm
//! quarter of an hour. Then it is half-open: exactly one probe. When the probe
//! succeeds it is closed, and starts slowly as a new one does. A probe that a user asks for
//! by hand does not wait until that time is over, and makes the next one no longer.
//! A pure state machine: the caller brings the time and counts what is in flight.

use std::time::{Duration, Instant};

/// So many failures in a row open the breaker.
const CONSECUTIVE_FAILURES: u32 = 5;
/// The share of failures is judged on so many results or more.
const WINDOW_RESULTS: u32 = 20;
/// Results are counted in steps of this length; the present and the last one make the
/// window, which so covers the last 30 to 60 s: several times the longest attempt.
const WINDOW_STEP: Duration = Duration::from_secs(30);
const FIRST_OPEN: Duration = Duration::from_secs(10);
/// Open at most so long; and closed for so long, earlier openings are forgotten.
const LONGEST_OPEN: Duration = Duration::from_secs(15 * 60);
/// Slow start ends at so many at a time, above any sensible limit for one endpoint.
const SLOW_START_END: u32 = 256;
/// When to ask again where only a result can change the answer. Callers ask after
/// every result anyway; this bounds what a lost one can cost.
const RECHECK: Duration = Duration::from_secs(1);

/// The circuit breaker of one endpoint. See the module's head for its rules.
#[derive(Clone, Debug)]
pub struct Breaker {
    phase: Phase,
    /// Openings since the last calm time: the n of 10 s·2ⁿ is one less.
    openings: u32,
    /// The next probe is asked for by hand.
    probe_asked: bool,
}

#[derive(Clone, Debug)]
enum Phase {
    Closed(Closed),
    Open { until: Instant },
    HalfOpen,
}

#[derive(Clone, Debug)]
struct Closed {
    /// When the first result came in; the calm time counts from here.
    since: Option<Instant>,
    /// Of attempts that began after the last success: of many at a time the failures come
    /// last where they are timeouts, and say nothing newer than the successes before them.
    consecutive_failures: u32,
    last_success: Option<Instant>,
    window: Window,
    /// Until the next success one attempt at a time, whatever was earned.
    on_trial: bool,
    /// None: no limit of the breaker's own.
    slow_start: Option<SlowStart>,
}

impl Closed {
    fn new(since: Option<Instant>, on_trial: bool) -> Self {
        Closed {
            since,
            consecutive_failures: 0,
            last_success: None,
            window: Window::default(),
            on_trial,
            slow_start: Some(SlowStart {
                limit: 1,
                successes: 0,
            }),
        }
    }

    fn limit(&self) -> usize {
        match &self.slow_start {
            _ if self.on_trial => 1,
            Some(slow) => slow.limit as usize,
            None => usize::MAX,
        }
    }
}

#[derive(Clone, Debug)]
struct SlowStart {
    /// So many attempts at a time.
    limit: u32,
    /// Successes under this limit; as many as the limit double it.
    successes: u32,
}

/// Whether an attempt may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Yes,
    /// Not now: ask again after the next result, and at the latest after this time.
    Wait(Duration),
}

/// What users and metrics see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Attempts flow, in slow start only a few at a time.
    Closed,
    /// Nothing is sent.
    Open,
    /// One probe is out, and nothing else.
    HalfOpen,
}

impl BreakerState {
    pub fn as_str(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half_open",
        }
    }
}

/// A result moved the breaker. (The way from open to half-open is the admission of
/// the probe.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateChange {
    /// Nothing is sent for so long.
    Opened(Duration),
    /// The probe succeeded; the slow start begins.
    Closed,
}

impl Default for Breaker {
    fn default() -> Self {
        Self::new()
    }
}

impl Breaker {
    /// Closed and on trial.
    pub fn new() -> Self {
        Breaker {
            phase: Phase::Closed(Closed::new(None, true)),
            openings: 0,
            probe_asked: false,
        }
    }

    /// So many attempts at a time may be under way.
    pub fn limit(&self) -> usize {
        match &self.phase {
            Phase::Closed(closed) => closed.limit(),
            Phase::Open { .. } | Phase::HalfOpen => 1,
        }
    }

    /// Nothing good is known of the endpoint since it was new, failed or hung.
    pub fn on_trial(&self) -> bool {
        match &self.phase {
            Phase::Closed(closed) => closed.on_trial,
            Phase::Open { .. } | Phase::HalfOpen => true,
        }
    }

    /// An attempt takes so long that the endpoint may hang.
    pub fn suspect(&mut self) {
        if let Phase::Closed(closed) = &mut self.phase {
            closed.on_trial = true;
        }
    }

    /// Asks to start an attempt; on `Yes` the caller must start it. `in_flight` is the
    /// number of this endpoint's attempts that were admitted and whose end has not
    /// been recorded; an attempt that is dropped without a result leaves it too.
    /// Record a result *before* counting it out, or the next call takes a probe
    /// whose result is on its way for one that vanished.
    pub fn admit(&mut self, now: Instant, in_flight: usize) -> Admission {
        match &self.phase {
            Phase::Closed(closed) if in_flight >= closed.limit() => Admission::Wait(RECHECK),
            Phase::Closed(_) => Admission::Yes,
            Phase::Open { until } if now < *until && !self.probe_asked => {
                Admission::Wait(*until - now)
            }
            // Attempts from before the opening end first: the only result that is
            // recorded in half-open is then the probe's. And a probe that was
            // dropped without a result is replaced.
            Phase::Open { .. } | Phase::HalfOpen if in_flight > 0 => Admission::Wait(RECHECK),
            Phase::Open { .. } | Phase::HalfOpen => {
                if self.open_for(now).is_some() {
                    self.openings = self.openings.saturating_sub(1);
                }
                self.probe_asked = false;
                self.phase = Phase::HalfOpen;
                Admission::Yes
            }
        }
    }

    /// Takes the result of an admitted attempt that began at `began`.
    pub fn record(&mut self, now: Instant, began: Instant, success: bool) -> Option<StateChange> {
        match &mut self.phase {
            Phase::Closed(closed) => {
                let since = *closed.since.get_or_insert(now);
                if success && now.saturating_duration_since(since) >= LONGEST_OPEN {
                    self.openings = 0;
                }
                closed.trips(now, began, success).then(|| self.open(now))
            }
            // Of an attempt from before the opening: it says nothing new.
            Phase::Open { .. } => None,
            Phase::HalfOpen if success => {
                self.probe_asked = false;
                self.phase = Phase::Closed(Closed::new(Some(now), false));
                Some(StateChange::Closed)
            }
            Phase::HalfOpen => Some(self.open(now)),
        }
    }

    /// A user retries or tests by hand: the next probe is admitted at once, or, where one is
    /// under way, as soon as that has failed.
    pub fn ask_probe(&mut self) {
        match self.phase {
            Phase::Closed(_) => {}
            Phase::Open { .. } | Phase::HalfOpen => self.probe_asked = true,
        }
    }

    /// A probe that was asked for by hand is still to come.
    pub fn is_probe_asked(&self) -> bool {
        self.probe_asked
    }

    /// How much longer nothing is sent that is not asked for by hand; none when an attempt
    /// might be admitted.
    pub fn open_for(&self, now: Instant) -> Option<Duration> {
        match self.phase {
            Phase::Open { until } => until
                .checked_duration_since(now)
                .filter(|wait| !wait.is_zero()),
            Phase::Closed(_) | Phase::HalfOpen => None,
        }
    }

    pub fn state(&self) -> BreakerState {
        match self.phase {
            Phase::Closed(_) => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen => BreakerState::HalfOpen,
        }
    }

    fn open(&mut self, now: Instant) -> StateChange {
        let doubled = 1_u32.checked_shl(self.openings).unwrap_or(u32::MAX);
        let length = FIRST_OPEN.saturating_mul(doubled).min(LONGEST_OPEN);
        self.openings = self.openings.saturating_add(1);
        self.phase = Phase::Open {
            until: now + length,
        };
        StateChange::Opened(length)
    }
}

impl Closed {
    /// Counts a result and says whether it opens the breaker.
    fn trips(&mut self, now: Instant, began: Instant, success: bool) -> bool {
        self.window.count(now, success);
        self.on_trial = !success;
        if success {
            self.consecutive_failures = 0;
            self.last_success = Some(now);
        } else if self.last_success.is_none_or(|at| began >= at) {
            self.consecutive_failures += 1;
        }
        let earned = self.slow_start.take().unwrap_or(SlowStart {
            limit: SLOW_START_END,
            successes: 0,
        });
        self.slow_start = earned.after(success);
        let failing = self.consecutive_failures >= CONSECUTIVE_FAILURES;
        // The result that fills the window may be a success, which opens nothing.
        !success && (failing || self.window.mostly_failed())
    }
}

impl SlowStart {
    /// As many successes as the limit double it; a failure halves it.
    fn after(mut self, success: bool) -> Option<Self> {
        self.successes += u32::from(success);
        if !success {
            self.limit = (self.limit / 2).max(1);
            self.successes = 0;
        } else if self.successes >= self.limit {
            self.limit = self.limit.saturating_mul(2);
            self.successes = 0;
        }
        (self.limit < SLOW_START_END).then_some(self)
    }
}

/// Results of the last 30 to 60 s.
#[derive(Clone, Debug, Default)]
struct Window {
    step_began: Option<Instant>,
    present: Tally,
    last: Tally,
}

#[derive(Clone, Debug, Default)]
struct Tally {
    results: u32,
    failures: u32,
}

impl Window {
    fn count(&mut self, now: Instant, success: bool) {
        let began = *self.step_began.get_or_insert(now);
        let age = now.saturating_duration_since(began);
        if age >= WINDOW_STEP {
            let present = std::mem::take(&mut self.present);
            let follows = age < 2 * WINDOW_STEP;
            self.last = if follows { present } else { Tally::default() };
            self.step_began = Some(if follows { began + WINDOW_STEP } else { now });
        }
        self.present.results = self.present.results.saturating_add(1);
        self.present.failures = self.present.failures.saturating_add(u32::from(!success));
    }

    fn mostly_failed(&self) -> bool {
        let results = self.present.results.saturating_add(self.last.results);
        let failures = self.present.failures.saturating_add(self.last.failures);
        results >= WINDOW_RESULTS && u64::from(failures) * 2 > u64::from(results)
    }
}

#[cfg(test)]
mod tests;
