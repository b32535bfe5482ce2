//! Parking what cannot be decoded, and mapping again what was parked: once its rule has been
//! changed, and when the operator asks for it.
//!
//! An event's id is a function of the change's place and the rule's name: what comes of it
//! is the event that would have come at first, and a replay meets its own rows.

use std::sync::Arc;

use anyhow::Context;

use super::Redefined;
use super::session::Session;
use crate::handoff::ParkedKey;
use crate::lsn::Lsn;
use crate::mapping::{Mapped, ParkedChange, ParkedReason};
use crate::pgoutput::{DecodeError, kept};

/// Bytes of changes that are read at once; one that is larger comes alone.
const READ_BYTES: i64 = 4 * 1024 * 1024;

/// Which parked changes are mapped again.
#[derive(Clone, Copy, Debug)]
pub enum Again<'a> {
    /// Those of rules that were changed.
    OfRules(&'a [String]),
    /// Those that the operator asks for.
    Asked,
}

/// Changes that were mapped again and stay parked, as the columns that unnest takes.
#[derive(Default)]
struct Stayed {
    commit_lsn: Vec<Lsn>,
    ordinal: Vec<i64>,
    rule: Vec<String>,
    reason: Vec<&'static str>,
    detail: Vec<String>,
}

impl Stayed {
    fn push(&mut self, (lsn, ordinal, rule): ParkedKey, reason: ParkedReason, detail: String) {
        self.commit_lsn.push(lsn);
        self.ordinal.push(ordinal);
        self.rule.push(rule);
        self.reason.push(reason.as_str());
        self.detail.push(detail);
    }
}

impl Session<'_> {
    /// Maps parked changes once more, between two transactions. Those that make an event, or
    /// none any more, are parked no longer; the others stay, with the present reason where
    /// they were asked for.
    pub async fn map_parked_again(&mut self, again: Again<'_>) -> anyhow::Result<()> {
        let (rules, asked_for) = match again {
            Again::OfRules(rules) => (rules, false),
            Again::Asked => (&[][..], true),
        };
        if !self.batch.is_empty() {
            self.flush().await?;
        }
        let query = include_str!("../../sql/queries/capture/list_kept_changes.sql");
        let query = self.reader.client.prepare(query).await?;
        let mut after: ParkedKey = (Lsn::ZERO, -1, String::new());
        let (mut unparked, mut events) = (0, 0);
        loop {
            let rows = self
                .reader
                .client
                .query(
                    &query,
                    &[
                        &rules,
                        &after.0,
                        &after.1,
                        &after.2,
                        &READ_BYTES,
                        &asked_for,
                    ],
                )
                .await
                .context("read the parked changes")?;
            let mut stayed = Stayed::default();
            for row in &rows {
                after = (row.get("commit_lsn"), row.get("ordinal"), row.get("rule"));
                let Some((header, change)) = kept::decode(row.get("change")) else {
                    let detail = "what was kept of the change cannot be read".to_owned();
                    stayed.push(after.clone(), ParkedReason::Undecodable, detail);
                    continue;
                };
                let mut mapped = Vec::new();
                let asked = self
                    .mapper
                    .map_again(&after.2, &header, &change, &mut mapped);
                if !asked {
                    let detail = "no rule of this name is for the table any more".to_owned();
                    stayed.push(after.clone(), ParkedReason::Unmappable, detail);
                    continue;
                }
                let parked = mapped.iter().find_map(|made| match made {
                    Mapped::Parked(change) => Some((change.reason, change.detail.clone())),
                    Mapped::Event(_) => None,
                });
                if let Some((reason, detail)) = parked {
                    stayed.push(after.clone(), reason, detail);
                    continue;
                }
                unparked += 1;
                events += mapped.len();
                mapped.into_iter().for_each(|made| self.batch.add(made));
                self.batch.unparked.push(after.clone());
            }
            if rows.is_empty() {
                break;
            }
            if !self.batch.is_empty() {
                self.flush().await?;
            }
            if asked_for {
                self.refuse_retry(&stayed).await?;
            }
        }
        if asked_for {
            let refused = include_str!("../../sql/queries/capture/refuse_unkept_retry.sql");
            let refused = self.reader.client.execute(refused, &[]).await;
            refused.context("note which changes cannot be mapped again")?;
        }
        if unparked > 0 {
            tracing::info!(
                unparked,
                events,
                "changes that were parked have been mapped by the present rules"
            );
        }
        Ok(())
    }

    async fn refuse_retry(&self, stayed: &Stayed) -> anyhow::Result<()> {
        if stayed.rule.is_empty() {
            return Ok(());
        }
        let query = include_str!("../../sql/queries/capture/refuse_parked_retry.sql");
        let Stayed {
            commit_lsn,
            ordinal,
            rule,
            reason,
            detail,
        } = stayed;
        let refused = self
            .reader
            .client
            .execute(query, &[commit_lsn, ordinal, rule, reason, detail])
            .await;
        refused.context("note why changes stay parked")?;
        Ok(())
    }

    pub(super) fn park_undecodable(
        &mut self,
        lsn: Lsn,
        ordinal: Option<u64>,
        relation: Option<String>,
        error: &DecodeError,
    ) -> Result<(), Redefined> {
        self.backfills.spoil();
        let commit_lsn = match (&self.open, ordinal) {
            (Some(open), Some(ordinal)) => {
                if open.resume.is_none_or(|resume| ordinal < resume) {
                    return Ok(());
                }
                self.reached.enter(open.header.commit_lsn, ordinal);
                open.header.commit_lsn
            }
            (Some(open), None) => open.header.commit_lsn,
            (None, _) => lsn,
        };
        let lost = match (&self.open, ordinal) {
            (Some(open), Some(_)) => {
                self.shadow
                    .invalidate(&open.header, relation.as_deref(), error)
            }
            (Some(_) | None, _) => Ok(()),
        };
        self.batch.add(Mapped::Parked(ParkedChange {
            commit_lsn,
            ordinal: ordinal.unwrap_or(0),
            rule: Arc::from(""),
            relation: Arc::from(relation.unwrap_or_default()),
            row_key: None,
            row_bytes: None,
            change: None,
            reason: ParkedReason::Undecodable,
            detail: error.to_string(),
            unknown_label: None,
        }));
        lost
    }
}
