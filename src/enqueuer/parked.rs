//! Mapping again what was parked, once its rule has been changed.
//!
//! An event's id is a function of the change's place and the rule's name: what comes of it
//! is the event that would have come at first, and a replay meets its own rows.

use anyhow::Context;

use super::session::Session;
use crate::lsn::Lsn;
use crate::mapping::Mapped;
use crate::pgoutput::kept;

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
}
