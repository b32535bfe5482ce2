//! The statements of an enqueue, prepared once a session and sent without waiting for
//! each other's answers.

use anyhow::Context;
use jiff::Timestamp;
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use super::batch::{Batch, DeliveryRows};
use crate::lsn::Lsn;
use crate::mapping::RuleSet;

pub(super) struct Statements {
    pub(super) begin: &'static str,
    pub(super) advance_progress: Statement,
    pub(super) notify_schedule: Statement,
    insert_events: Statement,
    insert_deliveries: Statement,
    insert_schedule: Statement,
    insert_parked: Statement,
    delete_parked: Statement,
    lower_low_water: Statement,
}

impl Statements {
    pub(super) async fn prepare(client: &Client) -> anyhow::Result<Self> {
        let prepare = |sql: &'static str| client.prepare(sql);
        let prepared = async {
            Ok(Statements {
                begin: "begin",
                advance_progress: prepare(include_str!("../../sql/queries/advance_progress.sql"))
                    .await?,
                notify_schedule: prepare(include_str!("../../sql/queries/notify_schedule.sql"))
                    .await?,
                insert_events: prepare(include_str!("../../sql/queries/insert_events.sql")).await?,
                insert_deliveries: prepare(include_str!("../../sql/queries/insert_deliveries.sql"))
                    .await?,
                insert_schedule: prepare(include_str!("../../sql/queries/insert_schedule.sql"))
                    .await?,
                insert_parked: prepare(include_str!("../../sql/queries/insert_parked_changes.sql"))
                    .await?,
                delete_parked: prepare(include_str!("../../sql/queries/delete_parked_changes.sql"))
                    .await?,
                lower_low_water: prepare(include_str!("../../sql/queries/lower_low_water.sql"))
                    .await?,
            })
        };
        prepared
            .await
            .map_err(|error: tokio_postgres::Error| anyhow::Error::from(error))
            .context(
                "prepare the enqueue's statements; does `walhook setup` have migrations to apply?",
            )
    }

    /// Writes the rows and commits, all in one round trip.
    pub(super) async fn write(
        &self,
        client: &Client,
        instance: Uuid,
        rules: &RuleSet,
        batch: &Batch,
        rows: &DeliveryRows,
        lower: Option<Uuid>,
    ) -> anyhow::Result<()> {
        // COMMIT answers success even where the transaction had failed before it: every
        // answer counts.
        let (events, deliveries, schedule, parked, mended, lowered, committed) = tokio::join!(
            self.events(client, rules, batch),
            self.deliveries(client, batch, rows),
            self.schedule(client, batch, rows),
            self.parked(client, batch),
            self.mended(client, batch),
            async {
                match lower {
                    None => Ok(1),
                    Some(lowest) => {
                        client
                            .execute(&self.lower_low_water, &[&instance, &lowest])
                            .await
                    }
                }
            },
            client.batch_execute("commit"),
        );
        events.context("insert events")?;
        deliveries.context("insert deliveries")?;
        schedule.context("insert into the schedule")?;
        parked.context("insert parked changes")?;
        mended.context("delete mended changes")?;
        lowered.context("lower the low water")?;
        committed.context("commit the enqueue")
    }

    async fn events(
        &self,
        client: &Client,
        rules: &RuleSet,
        batch: &Batch,
    ) -> Result<u64, tokio_postgres::Error> {
        let events = &batch.events;
        if events.is_empty() {
            return Ok(0);
        }
        let id: Vec<Uuid> = events.iter().map(|event| event.id.0).collect();
        let tenant: Vec<&str> = events.iter().map(|event| &*event.tenant_id).collect();
        let event_type: Vec<&str> = events.iter().map(|event| &*event.event_type).collect();
        let rule: Vec<&str> = events
            .iter()
            .map(|event| {
                rules
                    .rule_name(event.position.rule_index)
                    .unwrap_or_default()
            })
            .collect();
        let commit_lsn: Vec<Lsn> = events
            .iter()
            .map(|event| event.position.commit_lsn)
            .collect();
        let ordinal: Vec<i64> = events
            .iter()
            .map(|event| to_i64(event.position.ordinal))
            .collect();
        let index: Vec<i16> = events
            .iter()
            .map(|event| to_i16(event.position.rule_index))
            .collect();
        let row_key: Vec<&str> = events.iter().map(|event| event.row_key.as_str()).collect();
        let occurred: Vec<Timestamp> = events.iter().map(|event| event.occurred_at).collect();
        let body: Vec<&[u8]> = events.iter().map(|event| &event.body[..]).collect();
        client
            .execute(
                &self.insert_events,
                &[
                    &id,
                    &tenant,
                    &event_type,
                    &rule,
                    &commit_lsn,
                    &ordinal,
                    &index,
                    &row_key,
                    &occurred,
                    &body,
                ],
            )
            .await
    }

    async fn deliveries(
        &self,
        client: &Client,
        batch: &Batch,
        rows: &DeliveryRows,
    ) -> Result<u64, tokio_postgres::Error> {
        if rows.len() == 0 {
            return Ok(0);
        }
        let events = || rows.event.iter().map(|index| &batch.events[*index]);
        let event_id: Vec<Uuid> = events().map(|event| event.id.0).collect();
        let tenant: Vec<&str> = events().map(|event| &*event.tenant_id).collect();
        let event_type: Vec<&str> = events().map(|event| &*event.event_type).collect();
        let format: Vec<&str> = rows.format.iter().map(|format| format.as_str()).collect();
        let commit_lsn: Vec<Lsn> = events().map(|event| event.position.commit_lsn).collect();
        let ordinal: Vec<i64> = events()
            .map(|event| to_i64(event.position.ordinal))
            .collect();
        let index: Vec<i16> = events()
            .map(|event| to_i16(event.position.rule_index))
            .collect();
        let row_key: Vec<&str> = events().map(|event| event.row_key.as_str()).collect();
        client
            .execute(
                &self.insert_deliveries,
                &[
                    &rows.id,
                    &event_id,
                    &rows.subscription_id,
                    &tenant,
                    &event_type,
                    &format,
                    &commit_lsn,
                    &ordinal,
                    &index,
                    &row_key,
                    &rows.owner,
                ],
            )
            .await
    }

    async fn schedule(
        &self,
        client: &Client,
        batch: &Batch,
        rows: &DeliveryRows,
    ) -> Result<u64, tokio_postgres::Error> {
        let unowned: Vec<usize> = (0..rows.len())
            .filter(|index| rows.owner[*index].is_none())
            .collect();
        if unowned.is_empty() {
            return Ok(0);
        }
        let events = || {
            unowned
                .iter()
                .map(|index| &batch.events[rows.event[*index]])
        };
        let id: Vec<Uuid> = unowned.iter().map(|index| rows.id[*index]).collect();
        let subscription: Vec<Uuid> = unowned
            .iter()
            .map(|index| rows.subscription_id[*index])
            .collect();
        let tenant: Vec<&str> = events().map(|event| &*event.tenant_id).collect();
        let event_type: Vec<&str> = events().map(|event| &*event.event_type).collect();
        let parked: Vec<Option<&str>> = unowned
            .iter()
            .map(|index| rows.parked[*index].map(|reason| reason.as_str()))
            .collect();
        let batched = || {
            let batched = unowned.iter().map(|index| rows.batched[*index]);
            batched
                .zip(events())
                .map(|(batched, event)| batched.then_some(event))
        };
        let position = || batched().map(|event| event.map(|event| event.position));
        let commit_lsn: Vec<Option<Lsn>> = position()
            .map(|place| place.map(|place| place.commit_lsn))
            .collect();
        let ordinal: Vec<Option<i64>> = position()
            .map(|place| place.map(|place| to_i64(place.ordinal)))
            .collect();
        let index: Vec<Option<i16>> = position()
            .map(|place| place.map(|place| to_i16(place.rule_index)))
            .collect();
        let bytes: Vec<Option<i32>> = batched()
            .map(|event| event.map(|event| i32::try_from(event.body.len()).unwrap_or(i32::MAX)))
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
                    &commit_lsn,
                    &ordinal,
                    &index,
                    &bytes,
                ],
            )
            .await
    }

    async fn parked(&self, client: &Client, batch: &Batch) -> Result<u64, tokio_postgres::Error> {
        let changes = &batch.parked;
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
    async fn mended(&self, client: &Client, batch: &Batch) -> Result<u64, tokio_postgres::Error> {
        if batch.mended.is_empty() {
            return Ok(0);
        }
        let commit_lsn: Vec<Lsn> = batch.mended.iter().map(|key| key.0).collect();
        let ordinal: Vec<i64> = batch.mended.iter().map(|key| key.1).collect();
        let rule: Vec<&str> = batch.mended.iter().map(|key| key.2.as_str()).collect();
        client
            .execute(&self.delete_parked, &[&commit_lsn, &ordinal, &rule])
            .await
    }
}

/// Ordinals count changes of one transaction: they never reach 2^63.
fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// `RuleSet` has at most `i16::MAX` rules.
fn to_i16(number: u16) -> i16 {
    i16::try_from(number).unwrap_or(i16::MAX)
}
