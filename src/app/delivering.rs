//! The tasks of an instance that delivers.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::tasks::Tasks;
use crate::config::Config;
use crate::db::Store;
use crate::delivery::claimer::{self, Claimer};
use crate::delivery::client::Client;
use crate::delivery::dispatcher::Dispatcher;
use crate::delivery::instance::Instance;
use crate::delivery::leases::Leasing;
use crate::delivery::recorder::{self, Recorder};
use crate::delivery::unreadable;
use crate::subscription::directory::Directory;

/// The task whose end is waited for by its name.
pub(super) const RECORDER: &str = "recorder";

/// Bytes of a receiver's answer that are read; the rest says nothing that is kept.
const MAX_RESPONSE: usize = 64 * 1024;

/// The client that requests to endpoints go by. Fails where this machine has no root
/// certificates.
pub(crate) fn endpoint_client(config: &Config) -> anyhow::Result<Client> {
    let timeout = config.delivery.timeout.0;
    let name_servers = &config.delivery.name_servers;
    let client = Client::new(&config.security, name_servers, timeout, MAX_RESPONSE)?;
    Ok(client.keeping_answers(config.delivery.keep_answer))
}

pub(super) struct Delivering<'a> {
    pub(super) config: &'a Config,
    pub(super) client: Client,
    pub(super) store: &'a Store,
    pub(super) instance: &'a Instance,
    pub(super) directory: &'a Directory,
    pub(super) schedule_changed: &'a Arc<Notify>,
    pub(super) stop: &'a CancellationToken,
    pub(super) last: &'a CancellationToken,
}

impl Delivering<'_> {
    /// Starts them; the keepers are those that outlive `stop`.
    pub(super) async fn start(
        self,
        tasks: &mut Tasks,
        keepers: &mut Tasks,
    ) -> anyhow::Result<Arc<Dispatcher>> {
        let Delivering {
            config,
            client,
            stop,
            ..
        } = self;
        let (records, entries) = mpsc::channel(recorder::QUEUE);
        let directory = self.directory.clone();
        let heard = self.instance.heard();
        let clocks = Arc::clone(&self.instance.clocks);
        let dispatcher =
            Dispatcher::new(&config.delivery, client, directory, records, heard, clocks);
        let recorder = Recorder {
            store: self.store.clone(),
            instance: self.instance.id,
            outstanding: Arc::clone(&self.instance.outstanding),
            directory: self.directory.clone(),
            health: Arc::clone(&dispatcher.health),
            released: Arc::clone(&dispatcher.released),
            stats: Arc::clone(&dispatcher.stats),
            disable_after: config.delivery.disable_after(),
            schedule_changed: Arc::clone(self.schedule_changed),
        };
        keepers.spawn(RECORDER, recorder.run(entries, Arc::downgrade(&dispatcher)));
        tasks.spawn("dispatcher", Arc::clone(&dispatcher).run(stop.clone()));
        let claimer = Claimer {
            store: self.store.clone(),
            instance: self.instance.id,
            config: config.delivery.clone(),
            dispatcher: Arc::clone(&dispatcher),
            directory: self.directory.clone(),
            schedule_changed: Arc::clone(self.schedule_changed),
        };
        tasks.spawn("claimer", claimer.run(stop.clone()));
        tasks.spawn(
            "unreadable subscriptions",
            unreadable::run(self.store.clone(), self.directory.clone(), stop.clone()),
        );
        let leases_changed = Arc::new(Notify::new());
        tasks.spawn(
            "listener",
            claimer::listen(
                self.store.clone(),
                self.directory.clone(),
                Arc::clone(self.schedule_changed),
                Arc::clone(&leases_changed),
                stop.clone(),
            ),
        );
        let leasing = Leasing {
            store: self.store.clone(),
            instance: self.instance.id,
            dispatcher: Arc::downgrade(&dispatcher),
            directory: self.directory.clone(),
            leases_changed,
            schedule_changed: Arc::clone(self.schedule_changed),
        };
        // Before anything is enqueued, which is handed over if it is this instance's.
        leasing.share(&dispatcher).await?;
        keepers.spawn("leases", leasing.run(stop.clone(), self.last.clone()));
        Ok(dispatcher)
    }
}
