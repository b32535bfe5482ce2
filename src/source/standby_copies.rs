//! What the standbys that `source.url` names keep of the slot: without a copy a promotion is a
//! gap, and only the standby itself knows.

use crate::conninfo::{ConnInfo, Purpose};
use crate::replication::SlotState;
use crate::replication::slot;

/// How one standby would go on with the slot after its promotion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotCopy {
    /// It would.
    Kept,
    /// It would not: why, and what to do.
    Missing(String),
    /// The standby cannot be asked.
    Unseen(String),
}

impl SlotCopy {
    /// What is wrong, and why; `None` where nothing is.
    pub fn problem(self, address: &str) -> Option<(String, String)> {
        match self {
            SlotCopy::Kept => None,
            SlotCopy::Missing(why) => Some((
                format!("the standby {address} could not go on with the slot"),
                why,
            )),
            SlotCopy::Unseen(why) => Some((
                format!("whether {address} could go on with the slot cannot be seen"),
                why,
            )),
        }
    }
}

/// Each standby among the servers of the URL, by its address. Servers that take writes are
/// left out.
pub async fn of_standbys(
    source: &ConnInfo,
    slot: &str,
    command: &'static str,
) -> Vec<(String, SlotCopy)> {
    let servers = source.each_server();
    if servers.len() < 2 {
        return Vec::new();
    }
    let mut copies = Vec::new();
    for (address, server) in servers {
        match look(&server, slot, command).await {
            Ok(Some(copy)) => copies.push((address, copy)),
            Ok(None) => {}
            Err(error) => copies.push((address, SlotCopy::Unseen(format!("{error:#}")))),
        }
    }
    copies
}

/// `None`: the server takes writes.
async fn look(
    server: &ConnInfo,
    slot: &str,
    command: &'static str,
) -> anyhow::Result<Option<SlotCopy>> {
    let client = server.connect(Purpose::Inspection(command), None).await?;
    if !server.is_standby(&client).await? {
        return Ok(None);
    }
    let state = slot::inspect(&client, slot).await?;
    Ok(Some(judge(state.as_ref(), slot)))
}

fn judge(state: Option<&SlotState>, slot: &str) -> SlotCopy {
    let missing = |what: &str| SlotCopy::Missing(format!("{what}; a promotion now would be a gap"));
    match state {
        None => missing(&format!(
            "it has no copy of the slot `{slot}`: on it set sync_replication_slots, hot_standby_feedback, \
             primary_slot_name, and a dbname in primary_conninfo (PostgreSQL 17 and later)"
        )),
        Some(state) if !state.synced => missing(&format!(
            "its slot `{slot}` is no copy of the primary's: drop it there"
        )),
        Some(state) => match state.lost() {
            Some(reason) => missing(&format!("its copy of the slot `{slot}` is lost ({reason})")),
            None if state.temporary => missing(&format!(
                "its copy of the slot `{slot}` is still temporary: `walhook run` moves the slot, which makes the \
                 copy permanent within a minute or two"
            )),
            None => SlotCopy::Kept,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(text: &[(usize, &'static str)]) -> SlotState {
        SlotState::read(|index| {
            let found = text.iter().find(|(known, _)| *known == index);
            found.map(|(_, text)| *text)
        })
    }

    #[test]
    fn a_copy_is_kept_once_it_is_permanent_and_not_lost() {
        let kept = slot(&[(9, "f"), (12, "true")]);
        assert_eq!(judge(Some(&kept), "walhook"), SlotCopy::Kept);
        for (state, says) in [
            (None, "sync_replication_slots"),
            (Some(slot(&[(9, "f")])), "no copy of the primary's"),
            (Some(slot(&[(9, "t"), (12, "true")])), "temporary"),
            (
                Some(slot(&[(9, "f"), (11, "wal_removed"), (12, "true")])),
                "wal_removed",
            ),
        ] {
            let SlotCopy::Missing(text) = judge(state.as_ref(), "walhook") else {
                panic!("{says}");
            };
            assert!(
                text.contains(says) && text.contains("would be a gap"),
                "{text}"
            );
        }
    }
}
