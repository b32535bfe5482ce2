//! What instances that are gone held, and who moves it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::process::Process;
use super::{Instance, SILENCE};
use crate::conninfo::Queries;
use crate::db::Connection;
use crate::episode::Episode;

/// What fails, for the log.
const ADOPT: &str = "cannot take over a silent instance's deliveries";

/// How often silent instances are looked for.
const ADOPTION: Duration = Duration::from_secs(1);

impl Instance {
    /// Adopts for as long as this instance has itself been heard for long enough.
    pub(super) async fn adopt_when_heard(
        &self,
        hearing: watch::Receiver<Option<Instant>>,
        schedule_changed: Arc<Notify>,
    ) {
        let mut tick = tokio::time::interval(ADOPTION);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut succeeds = true;
        let mut episode = Episode::default();
        loop {
            tick.tick().await;
            let since: Option<Instant> = *hearing.borrow();
            let adopted = match since {
                // That its predecessor is gone it need not hear from anybody.
                Some(_) if std::mem::take(&mut succeeds) => self.succeed().await,
                Some(since) if since.elapsed() >= SILENCE => self.adopt().await,
                Some(_) | None => continue,
            };
            match adopted {
                Ok(0) => episode.succeeded(ADOPT),
                Ok(moved) => {
                    tracing::info!(
                        deliveries = moved,
                        "took over the deliveries of an instance that is gone"
                    );
                    schedule_changed.notify_one();
                }
                Err(error) => episode.failed(ADOPT, &error),
            }
        }
    }

    /// Fences who is silent and moves what they owned into the schedule. Answers how
    /// many deliveries were moved.
    async fn adopt(&self) -> anyhow::Result<u64> {
        let mut client = self.store.get().await?;
        self.fence(&mut client, &[], Some(SILENCE)).await?;
        take_over(&mut client).await
    }

    /// The same of those that ran on this machine and run no more.
    async fn succeed(&self) -> anyhow::Result<u64> {
        let Some(own) = Process::own() else {
            return Ok(0);
        };
        let mut client = self.store.get().await?;
        let sql = include_str!("../../../sql/queries/delivery/list_processes.sql");
        let others = client.query(sql, &[&self.id]).await?;
        let gone = others.iter().filter(|row| {
            let process = Process::parse(row.get("process"));
            process.is_some_and(|process| own.outlives(&process))
        });
        let gone: Vec<Uuid> = gone.map(|row| row.get("id")).collect();
        if gone.is_empty() {
            return Ok(0);
        }
        self.fence(&mut client, &gone, None).await?;
        take_over(&mut client).await
    }

    /// Fences those that are gone, or silent for so long, then the capture that one of them
    /// leads.
    async fn fence(
        &self,
        client: &mut Connection,
        gone: &[Uuid],
        silent_for: Option<Duration>,
    ) -> anyhow::Result<()> {
        let transaction = client.transaction().await?;
        let sql = include_str!("../../../sql/queries/delivery/fence_instances.sql");
        let silent_for = silent_for.map(|limit| limit.as_secs_f64());
        let fenced = transaction
            .query(sql, &[&gone, &self.id, &silent_for])
            .await
            .context("fence instances that are gone")?;
        let fenced: Vec<Uuid> = fenced.iter().map(|row| row.get(0)).collect();
        if !fenced.is_empty() {
            // A statement of its own: it sees the leader that took over while the first
            // one waited for its row.
            let sql = include_str!("../../../sql/queries/delivery/fence_leaders.sql");
            transaction
                .execute(sql, &[&fenced])
                .await
                .context("fence a leader that is gone")?;
        }
        transaction.commit().await.context("commit the fencing")
    }
}

/// Moves what fenced instances owned into the schedule. Answers how many deliveries.
async fn take_over(client: &mut Connection) -> anyhow::Result<u64> {
    let mut moved = 0;
    loop {
        // The lock keeps other instances from the same leftovers.
        let transaction = client.transaction().await?;
        let fenced = transaction
            .query_opt(
                include_str!("../../../sql/queries/delivery/lock_fenced_instance.sql"),
                &[],
            )
            .await?;
        let Some(fenced) = fenced else {
            return Ok(moved);
        };
        let (dead, low_water): (Uuid, Uuid) = (fenced.get(0), fenced.get(1));
        moved += remove(&transaction, dead, low_water).await?;
        transaction.commit().await.context("commit the adoption")?;
        tracing::info!(instance = %dead, "removed an instance that is gone");
    }
}

/// Removes an instance, and moves what it held into the schedule. Returns how many deliveries it
/// owned.
pub(super) async fn remove(
    client: &impl Queries,
    instance: Uuid,
    low_water: Uuid,
) -> anyhow::Result<u64> {
    let moved = disown(client, instance, Owned::From(low_water)).await?;
    let sql = include_str!("../../../sql/queries/delivery/remove_instance.sql");
    client.execute(sql, &[&instance]).await?;
    Ok(moved)
}

/// Which of an instance's deliveries.
#[derive(Clone, Copy)]
pub(super) enum Owned<'a> {
    /// From its low water on: all that it owns.
    From(Uuid),
    These(&'a [Uuid]),
}

/// Moves what an instance owns into the schedule. Returns how many deliveries that were.
pub(super) async fn disown(
    client: &impl Queries,
    instance: Uuid,
    owned: Owned<'_>,
) -> anyhow::Result<u64> {
    let sql = include_str!("../../../sql/queries/delivery/adopt_deliveries.sql");
    let mut moved = 0;
    let (mut after, ids) = match owned {
        // The range begins after its bound, and the low water itself may be owned.
        Owned::From(low_water) => (Uuid::from_u128(low_water.as_u128().saturating_sub(1)), None),
        Owned::These(ids) => (Uuid::nil(), Some(ids)),
    };
    while let Some(row) = client
        .query_opt(sql, &[&instance, &after, &ids])
        .await
        .context("move an instance's deliveries into the schedule")?
    {
        after = row.get(0);
        moved += u64::try_from(row.get::<_, i64>(1)).unwrap_or(0);
    }
    Ok(moved)
}
