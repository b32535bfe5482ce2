//! Parking what cannot be decoded, and mapping again what was parked, once its rule has
//! been changed.
//!
//! An event's id is a function of the change's place and the rule's name: what comes of it
//! is the event that would have come at first, and a replay meets its own rows.

use std::sync::Arc;

use anyhow::Context;

use super::Redefined;
use super::session::Session;
use crate::lsn::Lsn;
use crate::mapping::{Mapped, ParkedChange, ParkedReason};
use crate::pgoutput::{DecodeError, kept};

/// Bytes of changes that are read at once; one that is larger comes alone.
const READ_BYTES: i64 = 4 * 1024 * 1024;

/// Where a parked change stands: the primary key of `parked_changes`.
pub(super) type ParkedKey = (Lsn, i64, String);

impl Session<'_> {
    /// Maps the parked changes of these rules once more. Those that make an event, or none
    /// any more, are parked no longer; the others stay as they are.
    pub async fn map_parked_again(&mut self, rules: &[String]) -> anyhow::Result<()> {
        let query = include_str!("../../sql/queries/list_kept_changes.sql");
        let query = self.reader.client.prepare(query).await?;
        let mut after: ParkedKey = (Lsn::ZERO, -1, String::new());
        let (mut mended, mut events) = (0, 0);
        loop {
            let rows = self
                .reader
                .client
                .query(&query, &[&rules, &after.0, &after.1, &after.2, &READ_BYTES])
                .await
                .context("read the parked changes")?;
            for row in &rows {
                after = (row.get("commit_lsn"), row.get("ordinal"), row.get("rule"));
                let Some((header, change)) = kept::decode(row.get("change")) else {
                    continue;
                };
                let mut mapped = Vec::new();
                let asked = self
                    .mapper
                    .map_again(&after.2, &header, &change, &mut mapped);
                if !asked || mapped.iter().any(|made| matches!(made, Mapped::Parked(_))) {
                    continue;
                }
                mended += 1;
                events += mapped.len();
                mapped.into_iter().for_each(|made| self.batch.add(made));
                self.batch.mended.push(after.clone());
            }
            if rows.is_empty() {
                break;
            }
            if !self.batch.is_empty() {
                self.flush().await?;
            }
        }
        if mended > 0 {
            tracing::info!(
                mended,
                events,
                "changes that were parked have been mapped by the changed rules"
            );
        }
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
        tracing::error!(%lsn, relation = relation.as_deref().unwrap_or_default(), detail = %error, "a message of the log cannot be decoded; it is parked and the stream goes on");
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
