//! What one viewer is sent of the looks at its tenant, and what it has missed before.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep_until, timeout};
use uuid::Uuid;

use super::hub::{Change, Look, NEWEST, News, Viewer};
use super::{Message, Render, Wanted};
use crate::api::State;
use crate::api::auth::{Check, Standing};
use crate::api::error::Problem;
use crate::db::tenant_transaction;
use crate::delivery::listing::{self, Delivery, DeliverySearch, EventSearch, IdRange};
use crate::event::{EventId, id_floor, id_milliseconds, milliseconds};

/// How often it is checked that the caller may still see this.
const CHECKED: Duration = Duration::from_secs(5);
/// A stream ends after this time, and its client goes on with the next.
const LONGEST: Duration = Duration::from_secs(3600);
/// A client that does not take what a look has found in this time is left.
const PATIENCE: Duration = Duration::from_secs(30);
/// Milliseconds. Of a stream that knows no event yet, what was committed so long before is sent
/// where its client comes back.
const BEFORE: u64 = 10_000;

/// What one viewer is sent.
pub(super) struct Stream {
    pub(super) state: Arc<State>,
    pub(super) tenant: Arc<str>,
    pub(super) wanted: Wanted,
    pub(super) check: Check,
    pub(super) render: Render,
    pub(super) messages: mpsc::Sender<Message>,
    /// The event that was committed last, of those that are new.
    pub(super) newest: Uuid,
    /// … of those of which all was sent: what a client that comes back knows.
    pub(super) sent: Uuid,
    /// What was there before the first look is still to be sent.
    pub(super) catches_up: bool,
    pub(super) is_live: bool,
}

/// The client has left.
struct Left;

fn of(delivery: Delivery, news: News) -> Change {
    let delivery = Box::new(delivery);
    Change::Delivery { delivery, news }
}

impl Stream {
    /// Ends with the viewer's connection, or its right to see this.
    pub(super) async fn run(mut self, mut viewer: Viewer) {
        let _left = self.follow(&mut viewer).await;
    }

    async fn follow(&mut self, viewer: &mut Viewer) -> Result<(), Left> {
        // Clients that lose a server do not all come back at once.
        let retry = Duration::from_millis(rand::random_range(2_000..5_000));
        self.send(Message::default().retry(retry)).await?;
        let end = Instant::now() + LONGEST;
        let mut checks = interval(CHECKED);
        loop {
            let messages = self.messages.clone();
            tokio::select! {
                () = messages.closed() => return Err(Left),
                () = sleep_until(end) => return Ok(()),
                _ = checks.tick() => {
                    if (self.check)().await == Standing::Ended {
                        return self.send(Message::default().event("end").data("{}")).await;
                    }
                }
                look = viewer.next() => match look {
                    Ok(look) => timeout(PATIENCE, self.pass(&look)).await.map_err(|_late| Left)??,
                    Err(missed) => timeout(PATIENCE, self.send_change(&missed)).await.map_err(|_late| Left)??,
                },
            }
        }
    }

    async fn pass(&mut self, look: &Look) -> Result<(), Left> {
        let Look::Found(changes) = look else {
            if std::mem::take(&mut self.is_live) {
                return self
                    .send(Message::default().event("stopped").data("{}"))
                    .await;
            }
            return Ok(());
        };
        // From this look on nothing is left out: what was before it is in the list by now.
        let catches_up = self.catches_up;
        if catches_up {
            let Ok(earlier) = self.earlier().await else {
                return Ok(());
            };
            self.catches_up = false;
            for change in earlier {
                self.send_change(&change).await?;
            }
        }
        if !std::mem::replace(&mut self.is_live, true) {
            let now = milliseconds(Timestamp::now());
            self.sent = match self.newest.is_nil() {
                true => id_floor(now.saturating_sub(BEFORE)),
                false => self.newest,
            };
            let live = Message::default().event("live").data("{}");
            self.send(live.id(EventId(self.sent).to_string())).await?;
        }
        for change in changes {
            let is_named = matches!(
                change,
                Change::Delivery {
                    news: News::IsNamed,
                    ..
                }
            );
            if !(catches_up && is_named) {
                self.send_change(change).await?;
            }
        }
        // The whole look is sent: only now does a client that comes back need none of it.
        self.sent = self.sent.max(self.newest);
        Ok(())
    }

    /// What is named, and what was committed after the last event that the client knows, the
    /// oldest first.
    async fn earlier(&self) -> Result<Vec<Change>, Problem> {
        let mut client = self.state.store.get().await?;
        let transaction = tenant_transaction(&mut client, &self.tenant).await?;
        let ids = IdRange {
            from: id_floor(id_milliseconds(self.newest)),
            to: Uuid::max(),
        };
        let named = listing::deliveries_of(&transaction, &self.wanted.named).await?;
        let mut changes: Vec<Change> = named
            .into_iter()
            .map(|delivery| of(delivery, News::IsNamed))
            .collect();
        if self.wanted.after.is_none() {
            return Ok(changes);
        }
        // Deliveries are read first, as by a look, and sent after their events.
        let mut deliveries = Vec::new();
        if self.wanted.deliveries {
            let all = DeliverySearch::default();
            let low_water = Uuid::max();
            let found =
                listing::deliveries(&transaction, &all, ids, None, low_water, NEWEST).await?;
            deliveries.extend(found.next.map(|_| Change::Missed));
            let new = found.rows.into_iter().rev();
            let new = new.filter(|one| one.event_id.0 >= self.newest);
            deliveries.extend(new.map(|delivery| of(delivery, News::IsNew)));
        }
        if self.wanted.events {
            let all = EventSearch::default();
            let found = listing::events(&transaction, &all, ids, NEWEST).await?;
            changes.extend(found.next.map(|_| Change::Missed));
            let new = found.rows.into_iter().rev();
            let new = new.filter(|one| one.id.0 >= self.newest);
            changes.extend(new.map(|event| Change::Event(Box::new(event))));
        }
        changes.append(&mut deliveries);
        Ok(changes)
    }

    async fn send_change(&mut self, change: &Change) -> Result<(), Left> {
        if !self.wanted.admits(change) {
            return Ok(());
        }
        let Some(mut message) = (self.render)(change) else {
            return Ok(());
        };
        let of = match change {
            Change::Delivery {
                delivery,
                news: News::IsNew,
            } => Some(delivery.event_id),
            Change::Event(event) => Some(event.id),
            Change::Delivery { .. } | Change::Subscription(_) | Change::Missed => None,
        };
        if let Some(event) = of {
            self.newest = self.newest.max(event.0);
            message = message.id(EventId(self.sent).to_string());
        }
        self.send(message).await
    }

    async fn send(&self, message: Message) -> Result<(), Left> {
        self.messages.send(message).await.map_err(|_closed| Left)
    }
}
