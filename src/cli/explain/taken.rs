//! What `walhook run` made of a change that it took before its row was looked up: the
//! values that it saw are not kept, what came of them is.

use std::collections::HashMap;

use anyhow::Context;

use crate::conninfo::Client;
use crate::event::EventId;
use crate::mapping::{Explanation, ParkedReason, Verdict};
use crate::pgoutput::TransactionHeader;

/// By the rule's name; a rule that is not there made nothing.
pub(super) type Taken = HashMap<String, Decision>;

pub(super) enum Decision {
    Event {
        id: EventId,
        tenant_id: String,
        body: Vec<u8>,
    },
    Parked {
        reason: String,
        detail: String,
    },
}

pub(super) async fn read(
    store: &Client,
    system_identifier: u64,
    header: &TransactionHeader,
    ordinal: u64,
    explanation: &Explanation,
) -> anyhow::Result<Taken> {
    let event = include_str!("../../../sql/queries/cli/taken_event.sql");
    let parked = include_str!("../../../sql/queries/cli/taken_parked.sql");
    let mut taken = HashMap::new();
    for one in &explanation.rules {
        if let Verdict::OtherOperation(_) = one.verdict {
            continue;
        }
        let rule = &*one.rule;
        let (at, commit_lsn) = (header.committed_at, header.commit_lsn);
        let id = EventId::of_change(system_identifier, commit_lsn, ordinal, rule, at);
        let found = store.query_opt(event, &[&id.0]).await;
        if let Some(row) = found.context("read what was made of a change")? {
            let decision = Decision::Event {
                id,
                tenant_id: row.get("tenant_id"),
                body: row.get("body"),
            };
            taken.insert(rule.to_owned(), decision);
            continue;
        }
        let ordinal = i64::try_from(ordinal).unwrap_or(i64::MAX);
        let found = store
            .query_opt(parked, &[&commit_lsn, &ordinal, &rule])
            .await;
        if let Some(row) = found.context("read what was parked of a change")? {
            let decision = Decision::Parked {
                reason: row.get("reason"),
                detail: row.get("detail"),
            };
            taken.insert(rule.to_owned(), decision);
        }
    }
    Ok(taken)
}

/// Whether the verdict is for want of an old value alone.
pub(super) fn lacks_a_value(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Parked { reason, .. } => match reason {
            ParkedReason::Unmappable | ParkedReason::Unroutable => true,
            ParkedReason::Undecodable | ParkedReason::Oversized => false,
        },
        Verdict::Event { .. } | Verdict::OtherOperation(_) | Verdict::ConditionFalse(_) => false,
    }
}
