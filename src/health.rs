//! How the process stands: one list of problems, which `/readyz` and the metrics show, and
//! `walhook status` adds to.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::conninfo::Monitor;
use crate::lsn::Lsn;

pub use problem::{Problem, ProblemKind};

mod problem;

/// How the tasks of the process stand, as they say themselves.
pub struct Health {
    capture: Mutex<Capturing>,
    rules: Mutex<RulesState>,
    gaps: Mutex<Vec<OpenGap>>,
    /// What the store said was wrong when it was last asked.
    of_store: Mutex<Vec<Problem>>,
    /// When the watch saw all that it looks at; `None`: it does not run here.
    watched: Mutex<Option<Instant>>,
    connections: Vec<Arc<Monitor>>,
}

/// The watch looks every few seconds: after this long it is blind. A connection of its that
/// fell silent is replaced before.
const BLIND: Duration = Duration::from_secs(14);

/// An interruption of capture that is over sooner, such as a restart of the source, does not
/// take the node out of service.
const INTERRUPTION: Duration = Duration::from_secs(14);

/// A gap of this kind lacks nothing: in it changes were mapped with old values that may have
/// been stale. What is captured now is right, and so no node is taken out of service for it.
pub const STALE_OLD_VALUES: &str = "old_values_stale";

/// A gap in the WAL that is not accepted yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenGap {
    pub kind: String,
    /// `schema.table` where it is one table's.
    pub table: Option<String>,
    pub from_lsn: Lsn,
    /// Where capture went on; `None`: it has not, or the table is still missing.
    pub to_lsn: Option<Lsn>,
    pub reason: String,
}

impl OpenGap {
    /// What, from where to where, and the way out.
    fn describe(&self) -> String {
        let OpenGap {
            kind,
            from_lsn,
            reason,
            ..
        } = self;
        let to = match self.to_lsn {
            Some(to) => format!("to {to}, after which capture went on"),
            None => "on".to_owned(),
        };
        format!(
            "gap `{kind}` in the WAL from {from_lsn} {to}: {reason}; `walhook setup --accept-gap` says what to backfill, and closes it"
        )
    }
}

/// How this process stands to the replication slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaptureState {
    /// The role `capture` runs elsewhere.
    NotRunHere,
    Starting,
    /// Another process holds the slot; this one takes over when that one ends.
    Standby,
    /// This process holds the slot and reads from it.
    Leading,
    /// Why nothing is captured.
    Failing(String),
}

impl CaptureState {
    fn is_well(&self) -> bool {
        match self {
            CaptureState::NotRunHere | CaptureState::Standby | CaptureState::Leading => true,
            CaptureState::Starting | CaptureState::Failing(_) => false,
        }
    }
}

struct Capturing {
    state: CaptureState,
    /// When it last held the slot or stood by.
    was_well: Option<Instant>,
}

/// Whether the rules make events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RulesState {
    /// They are not compared with the tables yet.
    NotRead,
    /// Some wait for the old values of these tables.
    Seeding(Vec<String>),
    Active,
}

impl Health {
    /// `capture`: whether this process runs that role. Without it no rule need be active, and
    /// nothing is watched. `connections`: to the store and the source.
    pub fn new(capture: bool, connections: Vec<Arc<Monitor>>) -> Self {
        Health {
            capture: Mutex::new(Capturing {
                state: match capture {
                    true => CaptureState::Starting,
                    false => CaptureState::NotRunHere,
                },
                was_well: None,
            }),
            rules: Mutex::new(match capture {
                true => RulesState::NotRead,
                false => RulesState::Active,
            }),
            gaps: Mutex::default(),
            of_store: Mutex::default(),
            watched: Mutex::new(capture.then(Instant::now)),
            connections,
        }
    }

    /// What keeps the process from its work, and what does not. The store's ping is the
    /// caller's.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let capture = self.capture();
        match &capture {
            CaptureState::NotRunHere | CaptureState::Standby | CaptureState::Leading => {}
            CaptureState::Starting => problems.push(
                ProblemKind::CaptureStarting.because("the replication stream has not started yet"),
            ),
            CaptureState::Failing(reason) => {
                problems.push(ProblemKind::CaptureFailing.because(reason.clone()));
            }
        }
        if self
            .was_well()
            .is_some_and(|at| at.elapsed() < INTERRUPTION)
        {
            for problem in &mut problems {
                problem.affects_readiness = false;
            }
        }
        for gap in self.gaps() {
            let said = |problem: &&mut Problem| problem.text.contains(&gap.reason);
            match problems.iter_mut().find(said) {
                Some(problem) if gap.to_lsn.is_none() => problem.affects_readiness = true,
                _ => problems.push(Problem {
                    affects_readiness: gap.kind != STALE_OLD_VALUES,
                    ..ProblemKind::Gap.because(gap.describe())
                }),
            }
        }
        // The process that holds the slot activates the rules.
        if capture != CaptureState::Standby {
            match self.rules() {
                RulesState::Active => {}
                RulesState::NotRead => problems
                    .push(ProblemKind::RulesNotRead.because("some rules are not active yet")),
                RulesState::Seeding(tables) => {
                    problems.push(ProblemKind::Seeding.because(format!(
                        "seeding the old values of {}, which rules wait for: some are not active yet",
                        tables.join(", ")
                    )));
                }
            }
        }
        if let Some(seconds) = self.blind_for().filter(|blind| *blind >= BLIND) {
            problems.push(ProblemKind::WatchBlind.because(format!(
                "the slot, the publication and its tables were not looked at for {} s: see the log for what is wrong with \
                 the source or the store",
                seconds.as_secs()
            )));
        }
        for silence in self
            .connections
            .iter()
            .flat_map(|monitor| monitor.silences())
        {
            let why = match silence.error.as_str() {
                "" => String::new(),
                error => format!(": {error}"),
            };
            let kind = match silence.purpose.affects_readiness() {
                true => ProblemKind::ConnectionSilent,
                false => ProblemKind::TableReadSilent,
            };
            problems.push(kind.because(format!(
                "the {} has not answered `{}` for {} s{why}",
                silence.database,
                silence.purpose.application_name(),
                silence.lasting.as_secs()
            )));
        }
        let of_store = self.of_store.lock();
        problems.extend_from_slice(&of_store.unwrap_or_else(PoisonError::into_inner));
        problems
    }

    /// The watch has looked at everything.
    pub fn saw(&self) {
        *self.watched.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// How long ago the watch last saw everything.
    pub fn blind_for(&self) -> Option<Duration> {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.map(|at| at.elapsed())
    }

    pub fn set_capture(&self, state: CaptureState) {
        let mut capture = self.lock_capture();
        if capture.state.is_well() {
            capture.was_well = Some(Instant::now());
        }
        capture.state = state;
    }

    pub fn capture(&self) -> CaptureState {
        self.lock_capture().state.clone()
    }

    fn was_well(&self) -> Option<Instant> {
        self.lock_capture().was_well
    }

    fn lock_capture(&self) -> std::sync::MutexGuard<'_, Capturing> {
        self.capture.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_rules(&self, state: RulesState) {
        *self.rules.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    pub fn rules(&self) -> RulesState {
        let state = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        state.clone()
    }

    /// What the store says is wrong with endpoints, deliveries, filters and changes.
    pub fn set_of_store(&self, problems: Vec<Problem>) {
        *self.of_store.lock().unwrap_or_else(PoisonError::into_inner) = problems;
    }

    /// The gaps that are not accepted yet.
    pub fn set_gaps(&self, gaps: Vec<OpenGap>) {
        *self.gaps.lock().unwrap_or_else(PoisonError::into_inner) = gaps;
    }

    pub fn gaps(&self) -> Vec<OpenGap> {
        let gaps = self.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        gaps.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_interruption_of_capture_is_listed_and_a_first_failure_affects_readiness() {
        let health = Health::new(true, Vec::new());
        let failing = || {
            health.set_capture(CaptureState::Failing("no route".to_owned()));
            health.problems().swap_remove(0)
        };
        let affects = |problem: Problem| {
            assert_eq!(problem.kind, ProblemKind::CaptureFailing);
            problem.affects_readiness
        };
        assert!(affects(failing()));
        health.set_capture(CaptureState::Leading);
        assert!(!affects(failing()));
        assert!(!affects(failing()));
        let long_ago = Instant::now().checked_sub(INTERRUPTION);
        health.lock_capture().was_well = long_ago;
        assert!(affects(failing()));
        health.set_capture(CaptureState::Standby);
        let gap = OpenGap {
            kind: "slot_lost".to_owned(),
            table: None,
            from_lsn: Lsn(1),
            to_lsn: None,
            reason: "no route".to_owned(),
        };
        health.set_gaps(vec![gap]);
        assert!(affects(failing()));
    }

    #[test]
    fn stale_old_values_are_listed_and_take_no_node_out_of_service() {
        let health = Health::new(true, Vec::new());
        health.set_capture(CaptureState::Standby);
        let gap = |kind: &str| OpenGap {
            kind: kind.to_owned(),
            table: Some("public.orders".to_owned()),
            from_lsn: Lsn(1),
            to_lsn: Some(Lsn(2)),
            reason: kind.to_owned(),
        };
        health.set_gaps(vec![gap(STALE_OLD_VALUES), gap("table_recreated")]);
        let problems = health.problems();
        let affects: Vec<bool> = problems.iter().map(|one| one.affects_readiness).collect();
        assert_eq!(affects, [false, true]);
    }
}
