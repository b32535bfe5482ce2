//! Whether a slot continues exactly where the recorded progress stands. Where it
//! does not, changes are missing or would come twice: a gap, to be named and
//! never passed over.

use super::{GapKind, PLUGIN, SlotState};
use crate::lsn::Lsn;
use crate::replication::system::SystemIdentity;

/// The part of `replication_progress` that the slot is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedProgress {
    pub system_identifier: u64,
    pub timeline: i32,
    /// The furthest position that may have been acknowledged to the server.
    pub acknowledged_lsn: Lsn,
    /// The last transaction that was enqueued, wholly or in part.
    pub commit_lsn: Lsn,
}

/// Why the stream cannot simply go on. Each message names the state, both
/// positions and the way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Gap {
    #[error(
        "replication slot `{slot}` does not exist, but changes up to {acknowledged} were taken from it: it was dropped, or the server was failed over to one that does not have it, and what was committed since is not in any slot. {REMEDY}"
    )]
    SlotDropped { slot: String, acknowledged: Lsn },
    #[error("replication slot `{slot}` does not exist: run `walhook setup`")]
    SlotMissing { slot: String },
    #[error(
        "replication slot `{slot}` is lost ({reason}): it stands at {confirmed}, and the WAL from there on is gone; changes up to {acknowledged} were taken from it. {REMEDY}"
    )]
    SlotLost {
        slot: String,
        reason: String,
        confirmed: Lsn,
        acknowledged: Lsn,
    },
    #[error(
        "replication slot `{slot}` decodes with {found}, not with pgoutput: set source.slot to another name and run `walhook setup`"
    )]
    WrongPlugin { slot: String, found: String },
    #[error(
        "replication slot `{slot}` belongs to database `{found}`, not to `{expected}`: correct the database in source.url, or set source.slot to another name and run `walhook setup`"
    )]
    WrongDatabase {
        slot: String,
        found: String,
        expected: String,
    },
    #[error(
        "replication slot `{slot}` is temporary: it ends with the session that made it, and so would its log. Set source.slot to another name and run `walhook setup`"
    )]
    Temporary { slot: String },
    #[error(
        "replication slot `{slot}` was moved ahead to {confirmed}, or made again there, by somebody else: changes up to {acknowledged} were acknowledged by walhook, those between were never seen by it. {REMEDY}"
    )]
    SlotAhead {
        slot: String,
        confirmed: Lsn,
        acknowledged: Lsn,
    },
    #[error(
        "the source is another PostgreSQL system: {found}, where progress up to {acknowledged} was recorded on {recorded}: source.url is wrong (then correct it), or the database was moved by dump or logical replication, and its log has other positions. {REMEDY}"
    )]
    OtherSystem {
        recorded: u64,
        found: u64,
        acknowledged: Lsn,
    },
    #[error(
        "the source is on timeline {found}, which left timeline {recorded} at {left_at}, before the last enqueued commit {commit}: it was restored or failed over to a state without commits whose events may have been sent. {REMEDY}"
    )]
    TimelineBranchedBefore {
        recorded: i32,
        found: i32,
        left_at: Lsn,
        commit: Lsn,
    },
    #[error(
        "the source is on timeline {found}, which does not descend from timeline {recorded}, on which progress up to {acknowledged} was recorded: it was restored from an older backup, or its history file is missing. {REMEDY}"
    )]
    TimelineUnrelated {
        recorded: i32,
        found: i32,
        acknowledged: Lsn,
    },
    #[error(
        "the source's log ends at {flushed}, before {acknowledged}, up to which it was taken already: the database was restored from an older copy. {REMEDY}"
    )]
    LogBehind { flushed: Lsn, acknowledged: Lsn },
}

/// The one way on where the WAL has a gap.
pub const REMEDY: &str = "Run `walhook setup --accept-gap`: it records the gap, goes on after it, and says what is not delivered and how to send that by hand";

impl Gap {
    /// The state without the way out, for the record of the gap.
    pub fn state(&self) -> String {
        without_remedy(&self.to_string())
    }

    pub fn kind(&self) -> GapKind {
        match self {
            Gap::SlotDropped { .. } | Gap::SlotMissing { .. } => GapKind::SlotDropped,
            Gap::SlotLost { .. } => GapKind::SlotLost,
            Gap::WrongPlugin { .. } | Gap::WrongDatabase { .. } | Gap::Temporary { .. } => {
                GapKind::SlotForeign
            }
            Gap::SlotAhead { .. } => GapKind::SlotMoved,
            Gap::OtherSystem { .. } => GapKind::SystemChanged,
            Gap::TimelineBranchedBefore { .. } | Gap::TimelineUnrelated { .. } => {
                GapKind::TimelineBranched
            }
            Gap::LogBehind { .. } => GapKind::LogBehind,
        }
    }

    /// Whether the slot alone is wrong, and nothing recorded is in question.
    pub fn is_setup_fault(&self) -> bool {
        matches!(
            self,
            Gap::SlotMissing { .. }
                | Gap::WrongPlugin { .. }
                | Gap::WrongDatabase { .. }
                | Gap::Temporary { .. }
        )
    }
}

/// A message of ours without its last sentence, the remedy.
pub(in crate::replication) fn without_remedy(message: &str) -> String {
    let state = message.strip_suffix(REMEDY).unwrap_or(message);
    state.trim_end().trim_end_matches('.').to_owned()
}

/// Judges the slot before the first change is taken from it. `progress` is `None`
/// before anything was recorded. Best called while the slot is held, with
/// [`WalStream::system`](crate::replication::WalStream::system): nobody can move
/// it then, and nothing is acknowledged yet.
pub fn verify(
    progress: Option<&RecordedProgress>,
    system: &SystemIdentity,
    slot: &str,
    state: Option<&SlotState>,
) -> Result<(), Gap> {
    let slot = slot.to_owned();
    if let Some(progress) = progress {
        let confirmed = state.and_then(|state| state.confirmed_flush_lsn);
        verify_system(progress, system, confirmed)?;
    }
    let acknowledged = progress.map(|progress| progress.acknowledged_lsn);
    let Some(state) = state else {
        return Err(match acknowledged {
            Some(acknowledged) => Gap::SlotDropped { slot, acknowledged },
            None => Gap::SlotMissing { slot },
        });
    };
    if state.plugin.as_deref() != Some(PLUGIN) {
        let found = match &state.plugin {
            Some(plugin) => format!("`{plugin}`"),
            None => "nothing (it is a physical slot)".to_owned(),
        };
        return Err(Gap::WrongPlugin { slot, found });
    }
    if state.database.as_deref() != Some(&system.dbname) {
        return Err(Gap::WrongDatabase {
            slot,
            found: state.database.clone().unwrap_or_default(),
            expected: system.dbname.clone(),
        });
    }
    if state.temporary {
        return Err(Gap::Temporary { slot });
    }
    let confirmed = state.confirmed_flush_lsn.unwrap_or(Lsn::ZERO);
    if let Some(reason) = state.lost() {
        return Err(Gap::SlotLost {
            slot,
            reason,
            confirmed,
            acknowledged: acknowledged.unwrap_or(confirmed),
        });
    }
    match acknowledged {
        // The server starts at the slot whatever we ask for: without a word.
        Some(acknowledged) if confirmed > acknowledged => Err(Gap::SlotAhead {
            slot,
            confirmed,
            acknowledged,
        }),
        // Behind is well: the server keeps positions at checkpoints only, and what
        // it replays after a crash is recognised by its commit LSN.
        _ => Ok(()),
    }
}

fn verify_system(
    progress: &RecordedProgress,
    system: &SystemIdentity,
    confirmed: Option<Lsn>,
) -> Result<(), Gap> {
    let acknowledged = progress.acknowledged_lsn;
    if system.system_identifier != progress.system_identifier {
        return Err(Gap::OtherSystem {
            recorded: progress.system_identifier,
            found: system.system_identifier,
            acknowledged,
        });
    }
    let (recorded, found) = (progress.timeline, system.timeline);
    if found == recorded {
        if system.flushed_lsn < acknowledged {
            let flushed = system.flushed_lsn;
            return Err(Gap::LogBehind {
                flushed,
                acknowledged,
            });
        }
        return Ok(());
    }
    match system.left(recorded) {
        // The slot of this very server was read across the branch: by us, in a session
        // that began before the standby was promoted, or its primary.
        Some(left_at) if confirmed.is_some_and(|confirmed| confirmed > left_at) => Ok(()),
        // A commit record that begins at or after the branch is not in the present.
        // An idle acknowledgement after it does no harm: the slot of the present
        // cannot stand there.
        Some(left_at) if left_at <= progress.commit_lsn => Err(Gap::TimelineBranchedBefore {
            recorded,
            found,
            left_at,
            commit: progress.commit_lsn,
        }),
        Some(_) => Ok(()),
        None => Err(Gap::TimelineUnrelated {
            recorded,
            found,
            acknowledged,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::system::TimelineSwitch;

    const PROGRESS: RecordedProgress = RecordedProgress {
        system_identifier: 7,
        timeline: 1,
        acknowledged_lsn: Lsn(100),
        commit_lsn: Lsn(90),
    };

    fn system() -> SystemIdentity {
        SystemIdentity {
            system_identifier: 7,
            timeline: 1,
            flushed_lsn: Lsn(200),
            dbname: "app".to_owned(),
            major_version: 17,
            history: Vec::new(),
        }
    }

    fn slot() -> SlotState {
        SlotState {
            plugin: Some(PLUGIN.to_owned()),
            database: Some("app".to_owned()),
            wal_status: Some("reserved".to_owned()),
            confirmed_flush_lsn: Some(Lsn(100)),
            ..SlotState::default()
        }
    }

    /// The judgement after one thing was changed.
    fn judge(change: impl FnOnce(&mut SystemIdentity, &mut SlotState)) -> Result<(), Gap> {
        let (mut system, mut slot) = (system(), slot());
        change(&mut system, &mut slot);
        verify(Some(&PROGRESS), &system, "walhook", Some(&slot))
    }

    #[test]
    fn goes_on_where_the_slot_stands_at_or_behind_progress() {
        assert_eq!(judge(|_, _| {}), Ok(()));
        assert_eq!(
            judge(|_, slot| slot.confirmed_flush_lsn = Some(Lsn(40))),
            Ok(())
        );
        assert_eq!(verify(None, &system(), "walhook", Some(&slot())), Ok(()));
    }

    #[test]
    fn names_what_is_wrong_with_the_slot() {
        let gone = verify(Some(&PROGRESS), &system(), "walhook", None).unwrap_err();
        assert!(gone.to_string().contains("0/64"), "{gone}");
        assert!(gone.to_string().contains("--accept-gap"), "{gone}");
        assert!(
            gone.state().ends_with("not in any slot"),
            "{}",
            gone.state()
        );
        assert!(!gone.is_setup_fault());
        let fresh = verify(None, &system(), "walhook", None).unwrap_err();
        assert!(fresh.is_setup_fault() && fresh.to_string().contains("walhook setup"));
        let ahead = judge(|_, slot| slot.confirmed_flush_lsn = Some(Lsn(101))).unwrap_err();
        assert!(
            ahead.to_string().contains("0/65") && ahead.to_string().contains("0/64"),
            "{ahead}"
        );
        let lost = judge(|_, slot| slot.wal_status = Some("lost".to_owned()));
        assert!(matches!(lost, Err(Gap::SlotLost { .. })));
        let reason = Some("idle_timeout".to_owned());
        let invalidated = judge(|_, slot| slot.invalidation_reason = reason).unwrap_err();
        assert!(invalidated.to_string().contains("idle_timeout"));
        let physical = judge(|_, slot| slot.plugin = None).unwrap_err();
        assert!(physical.to_string().contains("physical"));
        let other = judge(|_, slot| slot.database = Some("other".to_owned()));
        assert!(matches!(other, Err(Gap::WrongDatabase { .. })));
        let temporary = judge(|_, slot| slot.temporary = true);
        assert!(matches!(temporary, Err(Gap::Temporary { .. })));
    }

    #[test]
    fn names_another_system_and_an_older_copy() {
        let other = judge(|system, _| system.system_identifier = 8);
        assert!(matches!(other, Err(Gap::OtherSystem { found: 8, .. })));
        let behind = judge(|system, _| system.flushed_lsn = Lsn(99));
        assert!(matches!(behind, Err(Gap::LogBehind { .. })));
    }

    #[test]
    fn follows_a_failover_unless_enqueued_commits_are_missing() {
        let after_with = |left_at, confirmed| {
            judge(|system, slot| {
                slot.confirmed_flush_lsn = Some(Lsn(confirmed));
                system.timeline = 3;
                let switch = |timeline, left_at| TimelineSwitch { timeline, left_at };
                system.history = vec![switch(1, Lsn(left_at)), switch(2, Lsn(180))];
            })
        };
        let after = |left_at| after_with(left_at, 80);
        assert_eq!(after(150), Ok(()));
        assert_eq!(
            after_with(85, 88),
            Ok(()),
            "the session went on across the promotion"
        );
        assert_eq!(after(91), Ok(()), "only an idle acknowledgement lies after");
        assert!(matches!(
            after(90),
            Err(Gap::TimelineBranchedBefore {
                left_at: Lsn(90),
                ..
            })
        ));
        let unrelated = judge(|system, _| system.timeline = 2);
        assert!(matches!(unrelated, Err(Gap::TimelineUnrelated { .. })));
    }
}
