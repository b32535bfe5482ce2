//! A message in the WAL now and then, while nothing that is published commits: whether it
//! comes back says that the stream moves, and for how long it has been on its way is how
//! far the stream lags. Without it a stream that has stopped looks like a quiet one.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::capture::watermark::{self, MESSAGE_PREFIX};
use crate::conninfo::{Client, ConnInfo, Purpose};
use crate::lsn::Lsn;
use crate::metrics::METRICS;
use crate::pgoutput::StreamEvent;
use crate::replication::slot;

/// Less log than this is not worth a message: an idle source stays idle.
const WORTH: u64 = 64 * 1024;

/// How often the lag of a message that is on its way is said.
const TICK: Duration = Duration::from_secs(1);

pub(super) struct Heartbeat {
    period: Duration,
    state: Mutex<State>,
}

struct State {
    /// When a transaction came last, a heartbeat's among them, and where it ended.
    heard: (Instant, Lsn),
    /// On its way.
    sent: Option<(String, Instant)>,
}

impl Heartbeat {
    /// `None` where there is to be none.
    pub(super) fn new(period: Duration) -> Option<Self> {
        (!period.is_zero()).then(|| Heartbeat {
            period,
            state: Mutex::new(State {
                heard: (Instant::now(), Lsn::ZERO),
                sent: None,
            }),
        })
    }

    /// Beats until it is dropped. What fails is tried again at the next beat.
    pub(super) async fn run(&self, source: &ConnInfo) {
        // One that was being written when the last run was dropped may never come: the
        // statement is cancelled.
        self.lock().sent = None;
        let mut client = None;
        loop {
            tokio::time::sleep(TICK.min(self.period)).await;
            self.say_lag();
            if !self.is_due() {
                continue;
            }
            if let Err(error) = self.beat(source, &mut client).await {
                client = None;
                tracing::debug!(error = format!("{error:#}"), "no heartbeat");
                tokio::time::sleep(self.period).await;
            }
        }
    }

    fn is_due(&self) -> bool {
        let state = self.lock();
        state.sent.is_none() && state.heard.0.elapsed() >= self.period
    }

    async fn beat(&self, source: &ConnInfo, client: &mut Option<Client>) -> anyhow::Result<()> {
        let client = match client {
            Some(client) if !client.is_closed() => client,
            none => none.insert(source.connect_writable(Purpose::Heartbeat).await?),
        };
        let written = slot::current_wal_insert_lsn(client).await?;
        let heard = self.lock().heard.1;
        if written.0.saturating_sub(heard.0) < WORTH {
            // Asked again after another period.
            self.lock().heard.0 = Instant::now();
            return Ok(());
        }
        let content = format!("heartbeat {}", uuid::Uuid::now_v7());
        self.lock().sent = Some((content.clone(), Instant::now()));
        watermark::emit(client, &content)
            .await
            .inspect_err(|_| self.lock().sent = None)
    }

    /// What the stream has brought, before it is enqueued.
    pub(super) fn hear(&self, batch: &[StreamEvent]) {
        let mut state = self.lock();
        for event in batch {
            match event {
                StreamEvent::Commit { end_lsn, .. } => state.heard = (Instant::now(), *end_lsn),
                StreamEvent::Message {
                    prefix, content, ..
                } if prefix == MESSAGE_PREFIX => {
                    let is_sent = |(sent, _): &(String, Instant)| sent.as_bytes() == &content[..];
                    if state.sent.as_ref().is_some_and(is_sent) {
                        state.sent = None;
                    }
                }
                StreamEvent::Begin(_)
                | StreamEvent::Change(_)
                | StreamEvent::Message { .. }
                | StreamEvent::Keepalive { .. }
                | StreamEvent::Undecodable { .. } => {}
            }
        }
    }

    /// A keepalive claims that there is nothing more to send; a message that is on its
    /// way knows better.
    pub(super) fn say_lag(&self) {
        let sent = self.lock().sent.as_ref().map(|(_, at)| at.elapsed());
        if let Some(age) = sent.filter(|age| *age >= TICK) {
            METRICS.lag_seconds.set(age.as_secs_f64());
        }
    }

    /// Plain data: nothing to distrust after a panic.
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_whose_writing_was_cut_short_is_not_waited_for() {
        let heartbeat = Heartbeat::new(Duration::from_secs(60)).unwrap();
        heartbeat.lock().sent = Some(("cut short".to_owned(), Instant::now()));
        let nowhere = ConnInfo::parse("host=127.0.0.1 port=1 user=u").unwrap();
        let run = heartbeat.run(&nowhere);
        let _ = tokio::time::timeout(Duration::from_millis(1), run).await;
        assert!(heartbeat.lock().sent.is_none());
    }
}
