//! The process's tasks, by name: supervised while it runs, waited for when it stops.

use std::collections::HashMap;

use anyhow::{Context, anyhow, bail};
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::task::{self, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// The supervised tasks.
#[derive(Default)]
pub(super) struct Tasks {
    set: JoinSet<anyhow::Result<()>>,
    names: HashMap<task::Id, &'static str>,
}

impl Tasks {
    pub(super) fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let spawned = self.set.spawn(task);
        self.names.insert(spawned.id(), name);
    }

    /// On a thread and a runtime of its own, so that its steps do not wait behind all that
    /// the others have to do. What it spawns and the connections that it opens run there.
    pub(super) fn spawn_apart(
        &mut self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let given_up = CancellationToken::new();
        let running = given_up.clone();
        let apart = move || {
            let runtime = runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("start a runtime")?;
            let ended = runtime.block_on(running.run_until_cancelled_owned(task));
            // It would wait for look-ups of names that nobody waits for any more.
            runtime.shutdown_background();
            ended.unwrap_or(Ok(()))
        };
        self.spawn(name, async move {
            let _give_up = given_up.drop_guard();
            let (end, ended) = oneshot::channel();
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || end.send(apart()))
                .context("start a thread")?;
            let panicked = || anyhow!("the task {name} panicked");
            ended.await.unwrap_or_else(|_| Err(panicked()))
        });
    }

    /// The next task that ends, and how.
    async fn next_end(&mut self) -> Option<(&'static str, anyhow::Result<()>)> {
        let (id, ended) = match self.set.join_next_with_id().await? {
            Ok((id, ended)) => (id, ended),
            Err(panic) => (panic.id(), Err(panic.into())),
        };
        Some((self.names.remove(&id).unwrap_or("unknown"), ended))
    }

    /// Returns when asked to stop, or with the error of the first task that ends.
    pub(super) async fn supervise(&mut self, shutdown: &CancellationToken) -> anyhow::Result<()> {
        let ended = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            ended = self.next_end() => ended,
        };
        match ended {
            // Both at once: what it was asked for has been done.
            _ if shutdown.is_cancelled() => Ok(()),
            None => Ok(()),
            Some((name, Err(error))) if error.is::<task::JoinError>() => {
                Err(error).with_context(|| format!("the task {name} panicked"))
            }
            Some((_, Err(error))) => Err(error),
            Some((name, Ok(()))) => bail!("the task {name} ended by itself"),
        }
    }

    /// Waits for all, and abandons those that have not ended by `until`; what still fails
    /// while stopping is reported and no more.
    pub(super) async fn finish(&mut self, until: Instant) {
        let finishing = async {
            while let Some((task, ended)) = self.next_end().await {
                report_late_end(task, ended);
            }
        };
        if timeout_at(until, finishing).await.is_err() {
            let tasks: Vec<&str> = self.names.values().copied().collect();
            tracing::debug!(?tasks, "these tasks did not end in time");
            self.set.shutdown().await;
            self.names.clear();
        }
    }

    /// Waits for the task of this name, if it has not ended before.
    pub(super) async fn finish_one(&mut self, name: &str) {
        while self.names.values().any(|running| *running == name) {
            let Some((task, ended)) = self.next_end().await else {
                return;
            };
            report_late_end(task, ended);
        }
    }
}

fn report_late_end(task: &'static str, ended: anyhow::Result<()>) {
    if let Err(error) = ended {
        tracing::warn!(
            task,
            error = format!("{error:#}"),
            "a task failed while stopping"
        );
    }
}
