//! How the process stands: one list of problems, which `/readyz` and the metrics show, and
//! `walhook status` adds to.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::conninfo::Monitor;
use crate::lsn::Lsn;

/// Something that is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub kind: ProblemKind,
    /// Whether the node is taken out of service for it.
    pub affects_readiness: bool,
    pub text: String,
}

/// What may be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    StoreUnreachable,
    SourceUnreachable,
    /// A connection to the store or the source gives no answers.
    ConnectionSilent,
    /// The slot, the publication and its tables were not looked at for long.
    WatchBlind,
    CaptureStarting,
    CaptureFailing,
    Gap,
    /// The store, the slot or the publication is not as `walhook setup` makes it.
    NotSetUp,
    /// No process reads the slot.
    SlotUnread,
    /// The slot retains nearly as much WAL as it may.
    WalBudget,
    /// A published table makes the application's own writes fail.
    HarmedTable,
    /// Rules were not compared with the tables yet.
    RulesNotRead,
    /// Rules wait for old values.
    Seeding,
    /// Instances run different rules.
    RulesDiffer,
    /// No instance delivers.
    NothingDelivers,
    /// Deliveries have been due for long.
    Overdue,
    /// Changes matched a rule and were sent to nobody.
    ParkedChanges,
    /// Clocks of nodes and databases differ.
    ClockSkew,
    /// The store is a copy, or lacks what was committed to it.
    StoreRefused,
    /// Subscriptions cannot be decrypted or read.
    UnreadableSubscriptions,
}

impl ProblemKind {
    pub const ALL: [ProblemKind; 20] = [
        ProblemKind::StoreUnreachable,
        ProblemKind::SourceUnreachable,
        ProblemKind::ConnectionSilent,
        ProblemKind::WatchBlind,
        ProblemKind::CaptureStarting,
        ProblemKind::CaptureFailing,
        ProblemKind::Gap,
        ProblemKind::NotSetUp,
        ProblemKind::SlotUnread,
        ProblemKind::WalBudget,
        ProblemKind::HarmedTable,
        ProblemKind::RulesNotRead,
        ProblemKind::Seeding,
        ProblemKind::RulesDiffer,
        ProblemKind::NothingDelivers,
        ProblemKind::Overdue,
        ProblemKind::ParkedChanges,
        ProblemKind::ClockSkew,
        ProblemKind::StoreRefused,
        ProblemKind::UnreadableSubscriptions,
    ];

    /// As metrics and JSON name it.
    pub fn as_str(self) -> &'static str {
        match self {
            ProblemKind::StoreUnreachable => "store_unreachable",
            ProblemKind::SourceUnreachable => "source_unreachable",
            ProblemKind::ConnectionSilent => "connection_silent",
            ProblemKind::WatchBlind => "watch_blind",
            ProblemKind::CaptureStarting => "capture_starting",
            ProblemKind::CaptureFailing => "capture_failing",
            ProblemKind::Gap => "gap",
            ProblemKind::NotSetUp => "not_set_up",
            ProblemKind::SlotUnread => "slot_unread",
            ProblemKind::WalBudget => "wal_budget",
            ProblemKind::HarmedTable => "harmed_table",
            ProblemKind::RulesNotRead => "rules_not_read",
            ProblemKind::Seeding => "seeding",
            ProblemKind::RulesDiffer => "rules_differ",
            ProblemKind::NothingDelivers => "nothing_delivers",
            ProblemKind::Overdue => "overdue",
            ProblemKind::ParkedChanges => "parked_changes",
            ProblemKind::ClockSkew => "clock_skew",
            ProblemKind::StoreRefused => "store_refused",
            ProblemKind::UnreadableSubscriptions => "unreadable_subscriptions",
        }
    }

    /// Whether a node with it is taken out of service: only for what keeps the node from its
    /// work, and never for what one tenant, endpoint or row can cause.
    pub fn affects_readiness(self) -> bool {
        match self {
            ProblemKind::StoreUnreachable
            | ProblemKind::SourceUnreachable
            | ProblemKind::ConnectionSilent
            | ProblemKind::WatchBlind
            | ProblemKind::CaptureStarting
            | ProblemKind::CaptureFailing
            | ProblemKind::Gap
            | ProblemKind::NotSetUp
            | ProblemKind::StoreRefused
            | ProblemKind::RulesNotRead => true,
            ProblemKind::SlotUnread
            | ProblemKind::WalBudget
            | ProblemKind::HarmedTable
            | ProblemKind::Seeding
            | ProblemKind::RulesDiffer
            | ProblemKind::NothingDelivers
            | ProblemKind::Overdue
            | ProblemKind::ParkedChanges
            | ProblemKind::UnreadableSubscriptions
            | ProblemKind::ClockSkew => false,
        }
    }

    pub fn because(self, text: impl Into<String>) -> Problem {
        Problem {
            kind: self,
            affects_readiness: self.affects_readiness(),
            text: text.into(),
        }
    }
}

/// How the tasks of the process stand, as they say themselves.
pub struct Health {
    capture: Mutex<Capturing>,
    rules: Mutex<RulesState>,
    gaps: Mutex<Vec<OpenGap>>,
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

/// A gap in the WAL that nobody has accepted yet.
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
            Some(to) => format!("to {to}, behind which capture went on"),
            None => "on".to_owned(),
        };
        format!(
            "gap `{kind}` in the log from {from_lsn} {to}: {reason}; `walhook setup --accept-gap` says what to backfill, and closes it"
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
                _ => problems.push(ProblemKind::Gap.because(gap.describe())),
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
            problems.push(ProblemKind::ConnectionSilent.because(format!(
                "the {} has not answered `{}` for {} s{why}",
                silence.database,
                silence.name,
                silence.lasting.as_secs()
            )));
        }
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

    /// The gaps that nobody has accepted yet.
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
    fn every_kind_is_named_as_json_names_it() {
        for kind in ProblemKind::ALL {
            let json = serde_json::to_string(&kind).unwrap();
            assert_eq!(json, format!("\"{}\"", kind.as_str()));
        }
    }
}
