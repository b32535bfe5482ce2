//! Shares the active subscriptions among the instances that deliver. Each is leased to
//! one of them, which alone sends to it; a lease holds for as long as its instance is
//! heard of. Only the store knows who has what: no instance speaks to another.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::dispatcher::Dispatcher;
use crate::db::{Connection, Store};
use crate::episode::Episode;
use crate::event::SubscriptionId;
use crate::subscription::directory::Directory;

/// What fails, for the log.
const SHARE: &str = "cannot share the subscriptions with other instances";

/// How often the shares are looked at, should an announcement be missed.
const INTERVAL: Duration = Duration::from_secs(5);

/// How soon again after a fault of the store.
const AGAIN: Duration = Duration::from_millis(500);

/// An instance whose heartbeats are late by this, two of them missed, gets no share: it
/// may be gone. What it holds is its own until it is fenced.
const LATE: Duration = Duration::from_secs(5);

pub struct Leasing {
    pub store: Store,
    pub instance: Uuid,
    /// Gone when nothing is delivered any more.
    pub dispatcher: Weak<Dispatcher>,
    pub directory: Directory,
    /// Notified when others come or leave, and when there is something to take.
    pub leases_changed: Arc<Notify>,
    /// Notified of what has been gained: something of it may be due.
    pub schedule_changed: Arc<Notify>,
}

impl Leasing {
    /// Takes and gives until `stop`, then gives everything back, and ends with `last`.
    pub async fn run(self, stop: CancellationToken, last: CancellationToken) -> anyhow::Result<()> {
        let mut has_left = false;
        let mut episode = Episode::default();
        loop {
            let Some(dispatcher) = self.dispatcher.upgrade() else {
                last.cancelled().await;
                return Ok(());
            };
            let leaving = stop.is_cancelled();
            let shared = match leaving {
                false => self.share(&dispatcher).await,
                true => self.leave(&dispatcher, &mut has_left).await,
            };
            let pause = match shared {
                Ok(()) => {
                    episode.succeeded(SHARE);
                    INTERVAL
                }
                Err(error) => {
                    episode.failed(SHARE, &error);
                    AGAIN
                }
            };
            // It must not be kept alive meanwhile: the recorder ends with it.
            let can_give = Arc::clone(&dispatcher.let_gone);
            drop(dispatcher);
            tokio::select! {
                () = last.cancelled() => return Ok(()),
                () = stop.cancelled(), if !leaving => {}
                () = self.leases_changed.notified(), if !leaving => {}
                () = can_give.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Takes what is free and gives back what is too much, by this instance's share.
    pub async fn share(&self, dispatcher: &Arc<Dispatcher>) -> anyhow::Result<()> {
        let client = self.store.get().await.context("connect to the store")?;
        self.directory.refresh(&client).await?;
        self.give_back(&client, dispatcher).await?;
        let share = self.own_share(&client).await?;
        let held = dispatcher.held();
        if held > share {
            tracing::info!(held, share, "leaving subscriptions to other instances");
            dispatcher.let_go(held - share);
            self.give_back(&client, dispatcher).await?;
        }
        self.take(&client, dispatcher, share).await
    }

    /// The process ends: the others take what is idle at once, and the rest as its last
    /// attempts end.
    async fn leave(&self, dispatcher: &Arc<Dispatcher>, has_left: &mut bool) -> anyhow::Result<()> {
        let client = self.store.get().await.context("connect to the store")?;
        if !*has_left {
            let sql = include_str!("../../sql/queries/delivery/leave_delivering.sql");
            client
                .execute(sql, &[&self.instance])
                .await
                .context("say that this instance delivers no more")?;
            *has_left = true;
        }
        dispatcher.let_go(usize::MAX);
        self.give_back(&client, dispatcher).await
    }

    async fn give_back(
        &self,
        client: &Connection,
        dispatcher: &Arc<Dispatcher>,
    ) -> anyhow::Result<()> {
        let ids = dispatcher.let_gone();
        if ids.is_empty() {
            return Ok(());
        }
        let given: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let sql = include_str!("../../sql/queries/delivery/give_leases_back.sql");
        client
            .execute(sql, &[&self.instance, &given])
            .await
            .context("give leases of subscriptions back")?;
        dispatcher.given_back(&ids);
        Ok(())
    }

    async fn own_share(&self, client: &Connection) -> anyhow::Result<usize> {
        let sql = include_str!("../../sql/queries/delivery/count_leases.sql");
        let rows = client
            .query(sql, &[&self.instance, &LATE.as_secs_f64()])
            .await
            .context("count the leases of the instances")?;
        let active = rows.first().map_or(0, |row| row.get("active"));
        let nodes = rows.iter().map(|row| (row.get("id"), row.get("leases")));
        Ok(share(self.instance, active, nodes.collect()))
    }

    async fn take(
        &self,
        client: &Connection,
        dispatcher: &Arc<Dispatcher>,
        share: usize,
    ) -> anyhow::Result<()> {
        let room = share.saturating_sub(dispatcher.held());
        let sql = include_str!("../../sql/queries/delivery/take_leases.sql");
        let rows = client
            .query(sql, &[&self.instance, &i64::try_from(room)?])
            .await
            .context("take leases of subscriptions")?;
        let leased: HashSet<_> = rows.iter().map(|row| SubscriptionId(row.get(0))).collect();
        if dispatcher.hold(leased.into_iter()) {
            tracing::debug!(held = dispatcher.held(), "took subscriptions");
            self.schedule_changed.notify_one();
        }
        Ok(())
    }
}

/// How many of the active subscriptions an instance is to hold, given how many each holds
/// now. The shares differ by one at most; the larger ones are theirs who hold the most
/// already, so that few change hands. Of those who hold the same the youngest comes first:
/// an elder may be its predecessor, which was killed and is not fenced yet.
fn share(own: Uuid, active: i64, mut nodes: Vec<(Uuid, i64)>) -> usize {
    nodes.sort_unstable_by_key(|(id, held)| std::cmp::Reverse((*held, *id)));
    let Some(place) = nodes.iter().position(|(id, _)| *id == own) else {
        return 0;
    };
    let active = usize::try_from(active).unwrap_or(0);
    active / nodes.len() + usize::from(place < active % nodes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shares of nodes that hold so many, the youngest first.
    fn shares(active: i64, held: &[i64]) -> Vec<usize> {
        let id = |place: usize| Uuid::from_u128(u128::MAX - place as u128);
        let nodes: Vec<(Uuid, i64)> = (0..).map(id).zip(held.iter().copied()).collect();
        let own = |place| share(id(place), active, nodes.clone());
        (0..held.len()).map(own).collect()
    }

    #[test]
    fn shares_are_equal_and_few_leases_change_hands() {
        for (active, held, expected) in [
            (0, vec![0, 0], vec![0, 0]),
            (7, vec![0], vec![7]),
            // The second comes, then the third.
            (7, vec![7, 0], vec![4, 3]),
            (7, vec![4, 3, 0], vec![3, 2, 2]),
            (4, vec![2, 2, 0], vec![2, 1, 1]),
            // Nothing moves for one more or less.
            (10, vec![3, 4, 3], vec![3, 4, 3]),
            (11, vec![3, 4, 3], vec![4, 4, 3]),
            (9, vec![3, 3, 3], vec![3, 3, 3]),
            (8, vec![2, 3, 3], vec![2, 3, 3]),
            // One subscription, and whoever has it keeps it.
            (1, vec![0, 1, 0], vec![0, 1, 0]),
            (1, vec![0, 0], vec![1, 0]),
        ] {
            assert_eq!(shares(active, &held), expected, "{active} {held:?}");
        }
    }

    #[test]
    fn who_is_not_counted_among_them_gets_nothing() {
        assert_eq!(share(Uuid::nil(), 5, vec![(Uuid::from_u128(1), 0)]), 0);
    }
}
