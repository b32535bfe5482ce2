//! The statements of an enqueue, prepared once a session and sent without waiting for
//! each other's answers.

use anyhow::Context;
use tokio_postgres::Statement;
use uuid::Uuid;

use super::batch::{ParkedKey, WaitsFor};
use super::copies::{Copies, Stored};
use super::rows::{DeliveryRow, Rows};
use crate::conninfo::Client;
use crate::delivery::instance::Instance;
use crate::delivery::manual::NOTIFY;
use crate::lsn::Lsn;
use crate::mapping::ParkedChange;

pub(crate) struct Statements {
    pub(crate) advance_progress: Statement,
    pub(crate) notify_schedule: Statement,
    pub(crate) copies: Copies,
    insert_schedule: Statement,
    insert_parked: Statement,
    delete_parked: Statement,
    lower_low_water: Statement,
}

impl Statements {
    pub(crate) async fn prepare(client: &Client) -> anyhow::Result<Self> {
        let prepare = |sql: &'static str| client.prepare(sql);
        let prepared = async {
            Ok(Statements {
                advance_progress: prepare(include_str!(
                    "../../sql/queries/handoff/advance_progress.sql"
                ))
                .await?,
                notify_schedule: prepare(NOTIFY).await?,
                copies: Copies::default(),
                insert_schedule: prepare(include_str!(
                    "../../sql/queries/handoff/insert_schedule.sql"
                ))
                .await?,
                insert_parked: prepare(include_str!(
                    "../../sql/queries/handoff/insert_parked_changes.sql"
                ))
                .await?,
                delete_parked: prepare(include_str!(
                    "../../sql/queries/handoff/delete_parked_changes.sql"
                ))
                .await?,
                lower_low_water: prepare(include_str!(
                    "../../sql/queries/handoff/lower_low_water.sql"
                ))
                .await?,
            })
        };
        prepared
            .await
            .map_err(|error: tokio_postgres::Error| anyhow::Error::from(error))
            .context("prepare the enqueue's statements")
    }

    /// Writes the rows and commits. `again`: some may be there already. Where a COPY fails
    /// the transaction is left open: see [`Copies::write`].
    pub(crate) async fn write(
        &self,
        client: &Client,
        instance: &Instance,
        rows: &Rows<'_>,
        lower: Option<Uuid>,
        again: bool,
    ) -> anyhow::Result<()> {
        let stored = match again {
            true => Stored::find(client, rows).await?,
            false => Stored::default(),
        };
        let clock = instance.clocks.store();
        self.copies.write(client, rows, &stored, clock).await?;
        // COMMIT answers success even where the transaction had failed before it: every
        // answer counts.
        let (schedule, parked, unparked, lowered, committed) = tokio::join!(
            self.schedule(client, rows),
            self.parked(client, rows),
            self.unparked(client, rows),
            async {
                match lower {
                    None => Ok(1),
                    Some(lowest) => {
                        client
                            .execute(&self.lower_low_water, &[&instance.id, &lowest])
                            .await
                    }
                }
            },
            client.batch_execute("commit"),
        );
        schedule.context("insert into the schedule")?;
        parked.context("insert parked changes")?;
        unparked.context("delete parked changes that were mapped")?;
        lowered.context("lower the low water")?;
        committed.context("commit the enqueue")
    }

    async fn schedule(
        &self,
        client: &Client,
        rows: &Rows<'_>,
    ) -> Result<u64, tokio_postgres::Error> {
        let waiting: Vec<DeliveryRow<'_>> = rows.deliveries().filter(DeliveryRow::waits).collect();
        if waiting.is_empty() {
            return Ok(0);
        }
        let id: Vec<Uuid> = waiting.iter().map(|row| row.id).collect();
        let subscription: Vec<Uuid> = waiting.iter().map(|row| row.subscription_id).collect();
        let tenant: Vec<&str> = waiting.iter().map(|row| &*row.event.tenant_id).collect();
        let event_type: Vec<&str> = waiting.iter().map(|row| &*row.event.event_type).collect();
        let parked = waiting.iter().map(|row| row.parked);
        let parked: Vec<Option<&str>> = parked
            .map(|reason| reason.map(|reason| reason.as_str()))
            .collect();
        let placed = || {
            let placed = |row: &DeliveryRow<'_>| row.waits_for != WaitsFor::Nothing;
            let position = move |row: &DeliveryRow<'_>| placed(row).then_some(row.event.position);
            waiting.iter().map(position)
        };
        let row_key: Vec<Option<&str>> = waiting
            .iter()
            .map(|row| (row.waits_for == WaitsFor::Row).then_some(row.event.row_key.as_str()))
            .collect();
        let commit_lsn: Vec<Option<Lsn>> = placed().map(|place| Some(place?.commit_lsn)).collect();
        let ordinal: Vec<Option<i64>> =
            placed().map(|place| Some(to_i64(place?.ordinal))).collect();
        let rule_index: Vec<Option<i16>> = placed()
            .map(|place| Some(to_i16(place?.rule_index)))
            .collect();
        let bytes = |row: &DeliveryRow<'_>| i32::try_from(row.event.body.len()).unwrap_or(i32::MAX);
        let bytes: Vec<Option<i32>> = waiting
            .iter()
            .map(|row| (row.waits_for == WaitsFor::Batch).then(|| bytes(row)))
            .collect();
        client
            .execute(
                &self.insert_schedule,
                &[
                    &id,
                    &subscription,
                    &tenant,
                    &event_type,
                    &parked,
                    &row_key,
                    &commit_lsn,
                    &ordinal,
                    &rule_index,
                    &bytes,
                ],
            )
            .await
    }

    async fn parked(&self, client: &Client, rows: &Rows<'_>) -> Result<u64, tokio_postgres::Error> {
        let changes: Vec<&ParkedChange> = rows.parked().collect();
        if changes.is_empty() {
            return Ok(0);
        }
        let commit_lsn: Vec<Lsn> = changes.iter().map(|change| change.commit_lsn).collect();
        let ordinal: Vec<i64> = changes
            .iter()
            .map(|change| to_i64(change.ordinal))
            .collect();
        let rule: Vec<&str> = changes.iter().map(|change| &*change.rule).collect();
        let relation: Vec<&str> = changes.iter().map(|change| &*change.relation).collect();
        let reason: Vec<&str> = changes
            .iter()
            .map(|change| change.reason.as_str())
            .collect();
        let detail: Vec<&str> = changes
            .iter()
            .map(|change| change.detail.as_str())
            .collect();
        let row_key: Vec<Option<&str>> = changes
            .iter()
            .map(|change| change.row_key.as_deref())
            .collect();
        let row_bytes: Vec<Option<i64>> = changes
            .iter()
            .map(|change| change.row_bytes.map(to_i64))
            .collect();
        let kept: Vec<Option<&[u8]>> = changes
            .iter()
            .map(|change| change.change.as_deref())
            .collect();
        client
            .execute(
                &self.insert_parked,
                &[
                    &commit_lsn,
                    &ordinal,
                    &rule,
                    &relation,
                    &reason,
                    &detail,
                    &row_key,
                    &row_bytes,
                    &kept,
                ],
            )
            .await
    }
}

impl Statements {
    async fn unparked(
        &self,
        client: &Client,
        rows: &Rows<'_>,
    ) -> Result<u64, tokio_postgres::Error> {
        let unparked: Vec<&ParkedKey> = rows.unparked().collect();
        if unparked.is_empty() {
            return Ok(0);
        }
        let commit_lsn: Vec<Lsn> = unparked.iter().map(|key| key.0).collect();
        let ordinal: Vec<i64> = unparked.iter().map(|key| key.1).collect();
        let rule: Vec<&str> = unparked.iter().map(|key| key.2.as_str()).collect();
        client
            .execute(&self.delete_parked, &[&commit_lsn, &ordinal, &rule])
            .await
    }
}

/// Ordinals count changes of one transaction: they never reach 2^63.
pub(crate) fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// `RuleSet` has at most `i16::MAX` rules.
pub(crate) fn to_i16(number: u16) -> i16 {
    i16::try_from(number).unwrap_or(i16::MAX)
}
