//! The running process: wires the tasks together and supervises them. A task that
//! ends is a fault, and ends the process with a message.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::api::stream::hub::Hub;
use crate::api::{self, Callers, JwtVerifier, Limits, Settings};
use crate::config::Config;
use crate::conninfo::{Monitor, Purpose};
use crate::console;
use crate::db::Store;
use crate::delivery::instance::Instance;
use crate::delivery::{jobs, parking, pruner};
use crate::health::Health;
use crate::subscription::directory::Directory;

mod backfill;
mod capture;
mod capturing;
mod delivering;
mod descriptors;
mod doubtful;
mod fault;
mod follow;
mod generation;
mod harm_watch;
mod heartbeat;
mod listening;
pub mod old_values;
mod parked_retry;
mod reached;
mod reload;
mod roles;
mod rules;
mod samples;
mod seed;
mod shed;
mod standing;
mod tasks;
mod unreadable;
mod watch;

use capturing::Capturing;
pub(crate) use delivering::endpoint_client;
use delivering::{Delivering, RECORDER};
use generation::Generation;
pub(crate) use listening::listen;
use reached::reached;
use reload::Reloader;
use tasks::Tasks;

pub use reload::Reloads;
pub use roles::{ParseRoleError, Role, Roles};

/// Stopping ends within 12 s, whatever the store does: Kubernetes kills after 30 s, some
/// others after 15. All of these count from the moment that the process is asked to stop.
///
/// How long tasks may take that hold nothing of a delivery's. What a silent database keeps
/// one of them from is abandoned.
const TASKS: Duration = Duration::from_secs(3);

/// How long attempts in flight may take: longer than the usual answer.
const DRAIN: Duration = Duration::from_secs(8);

/// How long the results may take on their way into the store.
const RECORDING: Duration = Duration::from_secs(10);

/// How long the store may take to hand back what this instance holds.
const STOPPING: Duration = Duration::from_secs(11);

/// Runs until `shutdown`, then drains. An error says which task failed and why.
pub async fn run(config: Config, roles: Roles, shutdown: CancellationToken) -> anyhow::Result<()> {
    let (_, reloads) = mpsc::channel(1);
    run_reloading(config, roles, shutdown, reloads).await
}

/// As [`run`]; the API is served by a listener that is bound already, whatever `api.listen` says.
pub async fn run_on(
    listener: std::net::TcpListener,
    config: Config,
    roles: Roles,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let (_, reloads) = mpsc::channel(1);
    run_instance(config, roles, shutdown, reloads, Some(listener)).await
}

/// As [`run`]; the rules of what comes by `reloads` take over those of `config`.
pub async fn run_reloading(
    config: Config,
    roles: Roles,
    shutdown: CancellationToken,
    reloads: Reloads,
) -> anyhow::Result<()> {
    run_instance(config, roles, shutdown, reloads, None).await
}

async fn run_instance(
    config: Config,
    roles: Roles,
    shutdown: CancellationToken,
    reloads: Reloads,
    bound: Option<std::net::TcpListener>,
) -> anyhow::Result<()> {
    descriptors::raise_limit();
    let key = Arc::new(config.security.load_key()?);
    let (to_source, to_store) = (Monitor::new("source"), Monitor::new("store"));
    let source = config.source_conninfo()?.monitored(&to_source);
    let generation = Arc::new(Generation::compile(config.clone())?);
    let event_types = api::EventTypes::from(generation.event_types());
    // What the configuration alone may be wrong about comes first: it must cost no wait for
    // the store, and no registration or take-over of the slot.
    let jwt = match &config.api.jwt {
        Some(jwt) if roles.contains(Role::Api) => Some(JwtVerifier::load(jwt)?),
        _ => None,
    };
    let client = match roles.contains(Role::Deliver) {
        true => Some(endpoint_client(&config)?),
        false => None,
    };
    let source_url = config.source.writable_url();
    let store = Store::open(&config.store, source_url, Purpose::Housekeeping)?;
    let store = store.monitored(&to_store, Purpose::Housekeeping)?;
    let checked = || async {
        store.check_schema().await?;
        store.check_identity().await?;
        store.agree_on_key(&key).await
    };
    if reached(&store, &shutdown, checked).await?.is_none() {
        return Ok(());
    }

    // Before anything is taken, for the same reason.
    let listeners = match roles.contains(Role::Api) {
        true => Some(listen(&config, bound).await?),
        false => None,
    };

    // Everything listens to `stop`, but for those who keep what others did: the recorder
    // ends when nothing can come any more, and the heartbeat after it, or a peer would
    // take this instance for dead while its last attempts are under way.
    let stop = shutdown.child_token();
    let last = CancellationToken::new();
    let health = Arc::new(Health::new(
        roles.contains(Role::Capture),
        vec![to_source, to_store],
    ));
    let directory = Directory::new(Arc::clone(&key)).checking_filters(listening::check_filter);
    let (read, from) = (&directory, &store);
    let refresh = || async move { read.refresh(&*from.get().await?).await };
    if reached(&store, &shutdown, refresh).await?.is_none() {
        return Ok(());
    }
    let names: Vec<String> = roles
        .0
        .iter()
        .map(|role| role.as_str().to_owned())
        .collect();
    let register = || Instance::register(&store, &names);
    let Some(instance) = reached(&store, &shutdown, register).await? else {
        return Ok(());
    };
    let instance = Arc::new(instance.with_key(Arc::clone(&key)));
    let schedule_changed = Arc::new(Notify::new());
    let mut tasks = Tasks::default();
    let mut keepers = Tasks::default();

    {
        let (instance, changed) = (Arc::clone(&instance), Arc::clone(&schedule_changed));
        let last = last.clone();
        keepers.spawn(
            "heartbeat",
            async move { instance.run(changed, last).await },
        );
    }
    tasks.spawn(
        "pruner",
        pruner::run(store.clone(), config.store.clone(), stop.clone()),
    );
    tasks.spawn("parking", parking::run(store.clone(), stop.clone()));

    let starting = async {
        let mut delivering = None;
        if let Some(client) = client {
            let parts = Delivering {
                config: &config,
                client,
                store: &store,
                instance: &instance,
                directory: &directory,
                schedule_changed: &schedule_changed,
                stop: &stop,
                last: &last,
            };
            delivering = Some(parts.start(&mut tasks, &mut keepers).await?);
        }
        let next_rules = roles.contains(Role::Capture).then(|| {
            let capturing = Capturing {
                config: &config,
                source: &source,
                store: &store,
                instance: &instance,
                directory: &directory,
                generation: &generation,
                health: &health,
                dispatcher: delivering.clone(),
                stop: &stop,
            };
            capturing.start(&mut tasks)
        });
        let reloader = Reloader {
            source: source.clone(),
            store: store.clone(),
            instance: instance.id,
            generation,
            event_types: event_types.clone(),
            capture: next_rules,
        };
        tasks.spawn("reloader", reloader.run(reloads, stop.clone()));
        if let Some(listeners) = listeners {
            tasks.spawn(
                "jobs",
                jobs::run(
                    store.clone(),
                    listening::filter_matches,
                    Arc::clone(&schedule_changed),
                    stop.clone(),
                ),
            );
            let state = Arc::new(api::State {
                store: store.reopen(Purpose::Api)?,
                probed: store.reopen(Purpose::Api)?,
                source,
                key,
                security: config.security.clone(),
                event_types,
                check_filter: listening::check_filter_for,
                filter_matches: listening::filter_matches,
                health: Arc::clone(&health),
                schedule_changed: Arc::clone(&schedule_changed),
                jwt,
                body_limit: config.api.body_limit,
                request_timeout: config.api.request_timeout.0,
                limits: Limits::new(config.limits.clone(), config.store.connections),
                callers: Callers::new(config.api.trusted_proxies.clone()),
                settings: Settings::of(&config.store, &config.delivery),
                hub: Arc::new(Hub::new(stop.clone())),
                caches: api::Caches::default(),
            });
            let address = listeners.api.local_addr()?;
            let public_url = config.api.public_url(Some(address));
            let pages = console::router(Arc::clone(&state), public_url);
            tracing::info!(%address, "API at http://{address}/docs");
            if let Some(ops) = &listeners.ops {
                let address = ops.local_addr()?;
                tracing::info!(%address, "metrics at http://{address}/metrics");
            }
            let serving = api::serve(listeners, state, pages, stop.clone());
            tasks.spawn("api_server", async {
                serving.await;
                Ok(())
            });
        }
        anyhow::Ok(delivering)
    };
    // However the start ends, the instance is deregistered: its peers would count on it.
    let (delivering, ended) = match shutdown.run_until_cancelled(starting).await {
        None => (None, Ok(())),
        Some(Err(error)) => (None, Err(error)),
        Some(Ok(delivering)) => {
            tracing::info!(%roles, instance = %instance.id, store = %store.describe(), "walhook is running");
            let ended = tokio::select! {
                ended = tasks.supervise(&shutdown) => ended,
                ended = keepers.supervise(&shutdown) => ended,
            };
            (delivering, ended)
        }
    };
    let asked = Instant::now();
    stop.cancel();
    tasks.finish(asked + TASKS).await;
    let offered = delivering
        .as_ref()
        .map(|dispatcher| Arc::clone(&dispatcher.offered));
    let recording = async {
        if let Some(dispatcher) = delivering {
            dispatcher
                .drain(DRAIN.saturating_sub(asked.elapsed()))
                .await;
            // The recorder ends with the last of those who send to it.
            drop(dispatcher);
            keepers.finish_one(RECORDER).await;
        }
    };
    let recorded = timeout_at(asked + RECORDING, recording).await;
    last.cancel();
    keepers.finish(asked + RECORDING).await;
    let parted = timeout_at(asked + STOPPING, instance.deregister())
        .await
        .context("the store did not answer in time")
        .flatten();
    if recorded.is_err() || parted.is_err() {
        let error = parted.err().map(|error| format!("{error:#}"));
        let offered = offered.map_or(0, |offered| offered.len());
        tracing::warn!(
            error,
            offered,
            unrecorded = instance.outstanding.len(),
            "the store did not take all results and leases before the end: those deliveries are \
             sent again, by another instance or at the next start"
        );
    }
    ended
}
