//! Changes that were mapped with old values which may have been stale: on record as a gap of
//! their table. What came of them may be false, or missing, and only the operator can tell.

use anyhow::Context;

use crate::capture::shadow::definition::Doubt;
use crate::conninfo::Client;
use crate::health::STALE_OLD_VALUES;
use crate::lsn::Lsn;
use crate::mapping::TableName;
use crate::metrics::METRICS;

/// Records what was mapped between the two positions, of which the second is the last. Under
/// the first the definition was the one that is known.
pub(super) async fn record(
    client: &Client,
    slot: &str,
    table: &TableName,
    (from, to): (Lsn, Lsn),
    doubts: &[Doubt],
) -> anyhow::Result<()> {
    let Some(doubt) = doubts.iter().find(|doubt| doubt.unannounced) else {
        return Ok(());
    };
    if to <= from {
        return Ok(());
    }
    let reason = format!(
        "changes of {table} were mapped with stale old values ({}): events of its rules may be \
         false or missing",
        doubt.reason
    );
    tracing::error!(
        table = %table,
        %from,
        %to,
        reason = doubt.reason,
        "changes of {table} were mapped with stale old values: events of its rules may be false or \
         missing"
    );
    let query = include_str!("../../../../sql/queries/db/record_table_gap.sql");
    client
        .execute(
            query,
            &[
                &slot,
                &STALE_OLD_VALUES,
                &table.to_string(),
                &from,
                &to,
                &reason,
            ],
        )
        .await
        .context("record which changes were mapped with stale old values")?;
    METRICS.gaps.with_label_values(&[STALE_OLD_VALUES]).inc();
    Ok(())
}
