//! The tasks of an instance that captures.

use std::sync::Arc;

use tokio::sync::watch::{self, Sender};
use tokio_util::sync::CancellationToken;

use super::capture::Capture;
use super::doubtful::{self, Doubtful};
use super::generation::Generation;
use super::harm_watch;
use super::samples;
use super::shed::ShedRequest;
use super::tasks::Tasks;
use super::watch::Watch;
use crate::capture::{Answered, Enqueuer, FilterFailures, Filters, Recorded};
use crate::config::Config;
use crate::conninfo::ConnInfo;
use crate::db::Store;
use crate::delivery::dispatcher::Dispatcher;
use crate::delivery::instance::Instance;
use crate::delivery::partitions::Partitions;
use crate::handoff::{Tallies, UnknownTenants};
use crate::health::Health;
use crate::subscription::directory::Directory;

pub(super) struct Capturing<'a> {
    pub(super) config: &'a Config,
    pub(super) source: &'a ConnInfo,
    pub(super) store: &'a Store,
    pub(super) instance: &'a Arc<Instance>,
    pub(super) directory: &'a Directory,
    pub(super) generation: &'a Arc<Generation>,
    pub(super) health: &'a Arc<Health>,
    /// None on an instance that does not deliver.
    pub(super) dispatcher: Option<Arc<Dispatcher>>,
    pub(super) stop: &'a CancellationToken,
}

impl Capturing<'_> {
    /// Starts them. Returns where rules go that are to replace those of `generation`.
    pub(super) fn start(self, tasks: &mut Tasks) -> Sender<Arc<Generation>> {
        let Capturing {
            config,
            source,
            store,
            instance,
            directory,
            generation,
            health,
            dispatcher,
            stop,
        } = self;
        let (sender, next) = watch::channel(Arc::clone(generation));
        let shed_request = Arc::new(ShedRequest::new());
        let doubtful = Arc::new(Doubtful::new());
        let catalog = doubtful::catalog(source, &config.source);
        let watch = Watch {
            source: source.clone(),
            config: config.source.clone(),
            rules: next.clone(),
            store: store.clone(),
            instance: instance.id,
            health: Arc::clone(health),
            shed_request: Arc::clone(&shed_request),
            catalog: catalog.clone(),
            doubtful: Arc::clone(&doubtful),
            clocks: Arc::clone(&instance.clocks),
        };
        let filter_failures = Arc::new(FilterFailures::default());
        let unknown_tenants = Arc::new(UnknownTenants::default());
        let tallies = Arc::new(Tallies::default());
        let capture = Capture {
            shed_request,
            doubtful,
            source: source.clone(),
            config: config.source.clone(),
            generation: Arc::clone(generation),
            next,
            health: Arc::clone(health),
            outgrown: Vec::new(),
            has_led: false,
            enqueuer: Enqueuer {
                store: store.clone(),
                slot: config.source.slot.clone(),
                instance: Arc::clone(instance),
                directory: directory.clone(),
                partitions: Arc::new(Partitions::default()),
                dispatcher,
                max_body: config.delivery.max_body,
                filters: Filters::new(Arc::clone(&filter_failures)),
                unknown_tenants: Arc::clone(&unknown_tenants),
                tallies: Arc::clone(&tallies),
                unconfirmed: Vec::new(),
                ready: None,
                recorded: Recorded::default(),
                catalog,
                answered: Answered::default(),
            },
        };
        tasks.spawn_apart("capture", capture.run(stop.clone()));
        let (kept, until) = (store.clone(), stop.clone());
        tasks.spawn("filter failures", async move {
            filter_failures.record(kept, until).await
        });
        let (kept, known, until) = (store.clone(), directory.clone(), stop.clone());
        tasks.spawn("unknown tenants", async move {
            unknown_tenants.record(kept, known, until).await
        });
        let (kept, slot, until) = (store.clone(), config.source.slot.clone(), stop.clone());
        tasks.spawn(
            "tallies",
            async move { tallies.record(kept, slot, until).await },
        );
        tasks.spawn("slot watch", watch.run(stop.clone()));
        let slot = config.source.slot.clone();
        tasks.spawn(
            "pipeline samples",
            samples::run(store.clone(), slot, Arc::clone(health), stop.clone()),
        );
        let publication = config.source.publication.clone();
        tasks.spawn(
            "harm watch",
            harm_watch::run(source.clone(), publication, stop.clone()),
        );
        sender
    }
}
