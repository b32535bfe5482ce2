//! Takes what the stream brings to the enqueuer, until it is to stop or to go on under
//! other rules.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::doubtful::Doubtful;
use super::fault::Fault;
use super::generation::Generation;
use super::heartbeat::Heartbeat;
use super::shed::ShedRequest;
use super::{backfill, parked_retry, seed};
use crate::capture::{Again, Redefined, Session};
use crate::conninfo::ConnInfo;
use crate::db::Store;
use crate::delivery::instance::Instance;
use crate::health::{Health, RulesState};
use crate::lsn::Lsn;
use crate::pgoutput::StreamEvent;
use crate::replication::WalStream;

pub(super) struct Follow<'a> {
    pub(super) stream: &'a mut WalStream,
    pub(super) source: &'a ConnInfo,
    pub(super) store: &'a Store,
    pub(super) slot: &'a str,
    pub(super) next: &'a mut watch::Receiver<Arc<Generation>>,
    pub(super) health: &'a Health,
    pub(super) heartbeat: Option<&'a Heartbeat>,
    /// Asks for log to be shed, for which the slot must be free.
    pub(super) shed_request: &'a ShedRequest,
    /// Has the catalog compared where old values may be others.
    pub(super) doubtful: &'a Doubtful,
    pub(super) stop: &'a CancellationToken,
    /// Whose heartbeats are to be heard for as long as it holds the slot.
    pub(super) instance: &'a Instance,
}

pub(super) enum Followed {
    Stopped,
    /// The stream stands between two transactions, and there are other rules. What was
    /// received after that place.
    ToNextRules(Vec<StreamEvent>),
}

impl Follow<'_> {
    /// `batch`: received before.
    pub(super) async fn run(
        self,
        session: &mut Session<'_>,
        mut batch: Vec<StreamEvent>,
    ) -> Result<Followed, Fault> {
        self.health.set_rules(rules_state(session));
        // Ends with this session, which takes what it reads.
        let (source, seeding) = (self.source.clone(), session.seeding());
        let mut seeding = Box::pin(async {
            if let Some(seeding) = seeding {
                seed::run(source, seeding).await;
            }
            std::future::pending::<()>().await;
        });
        let (source, backfilling) = (self.source.clone(), session.backfilling());
        let (store, slot) = (self.store.clone(), self.slot.to_owned());
        let mut backfilling = Box::pin(async {
            if let Some(backfilling) = backfilling {
                let runner = backfill::Runner::new(source, store, slot, backfilling);
                runner.run().await;
            }
            std::future::pending::<()>().await;
        });
        let heartbeat = self.heartbeat;
        let mut beating = Box::pin(async {
            if let Some(heartbeat) = heartbeat {
                heartbeat.run(self.source).await;
            }
            std::future::pending::<()>().await;
        });
        let mut asking = Box::pin(parked_retry::asked(self.store));
        // Parked changes are to be mapped again.
        let mut retrying = false;
        // What was handed over is to be written.
        let mut due = false;
        loop {
            if let Some(reason) = self.doubtful.reason() {
                return Err(anyhow::Error::from(Redefined::in_doubt(reason)).into());
            }
            let changed = self.next.has_changed().unwrap_or(false);
            if changed && session.is_between_transactions() {
                return Ok(Followed::ToNextRules(batch));
            }
            if retrying && session.is_between_transactions() {
                session.map_parked_again(Again::Asked).await?;
                retrying = false;
                asking = Box::pin(parked_retry::asked(self.store));
            }
            let later = match changed || retrying {
                true => split_behind_commit(&mut batch),
                false => Vec::new(),
            };
            if !batch.is_empty() || std::mem::take(&mut due) {
                heartbeat.inspect(|heartbeat| heartbeat.hear(&batch));
                let Some(durable) = self.enqueue(session, batch).await? else {
                    return Ok(Followed::Stopped);
                };
                heartbeat.inspect(|heartbeat| heartbeat.say_lag());
                self.stream.acknowledge(durable);
                self.health.set_rules(rules_state(session));
            }
            batch = later;
            if !batch.is_empty() {
                continue;
            }
            tokio::select! {
                () = self.stop.cancelled() => return Ok(Followed::Stopped),
                () = self.instance.silent() => {
                    self.stream.release();
                    return Err(Fault::Silent);
                }
                received = self.stream.next_batch() => batch = received?,
                Ok(()) = self.next.changed(), if !changed => self.next.mark_changed(),
                () = session.due() => due = true,
                () = &mut asking, if !retrying => retrying = true,
                () = &mut seeding => {}
                () = self.shed_request.asked() => return Err(Fault::Shed),
                () = self.doubtful.raised() => {}
                () = &mut backfilling => {}
                () = &mut beating => {}
            }
        }
    }

    /// `None` where the process is to stop: what was handed over can still be written, the
    /// rest of the batch comes again. The slot is released while the store is silent for
    /// longer than this instance may be.
    async fn enqueue(
        &self,
        session: &mut Session<'_>,
        batch: Vec<StreamEvent>,
    ) -> Result<Option<Lsn>, Fault> {
        let mut enqueuing = std::pin::pin!(session.enqueue(batch));
        tokio::select! {
            biased;
            durable = &mut enqueuing => return Ok(Some(durable?)),
            () = self.stop.cancelled() => return Ok(None),
            () = self.instance.silent() => self.stream.release(),
        }
        // Not cut short: its commit may be under way.
        tokio::select! {
            durable = enqueuing => durable.map_err(Fault::from).and(Err(Fault::Silent)),
            () = self.stop.cancelled() => Ok(None),
        }
    }
}

fn rules_state(session: &Session<'_>) -> RulesState {
    let tables: Vec<String> = session.seeding_tables().map(ToString::to_string).collect();
    match tables.is_empty() {
        true => RulesState::Active,
        false => RulesState::Seeding(tables),
    }
}

/// Leaves what comes up to the first end of a transaction, and answers the rest.
fn split_behind_commit(batch: &mut Vec<StreamEvent>) -> Vec<StreamEvent> {
    let is_commit = |event: &StreamEvent| matches!(event, StreamEvent::Commit { .. });
    match batch.iter().position(is_commit) {
        Some(commit) => batch.split_off(commit + 1),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_split_behind_its_first_commit() {
        let keepalive = StreamEvent::Keepalive {
            wal_end: Lsn(9),
            reply_requested: false,
        };
        let commit = StreamEvent::Commit {
            commit_lsn: Lsn(1),
            end_lsn: Lsn(2),
        };
        let mut batch = vec![commit.clone(), keepalive.clone(), commit.clone()];
        let rest = split_behind_commit(&mut batch);
        assert_eq!((batch.len(), rest.len()), (1, 2));
        let mut batch = vec![keepalive];
        assert!(split_behind_commit(&mut batch).is_empty());
        assert_eq!(batch.len(), 1);
    }
}
