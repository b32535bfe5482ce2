//! Rules that are read again while walhook runs: checked as at start, published, and
//! handed to capture, which takes them over between two transactions. Whatever is wrong
//! leaves the rules of before running.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, bail};
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio_postgres::error::SqlState;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::generation::Generation;
use super::rules;
use crate::api::EventTypes;
use crate::config::{Config, ConfigError};
use crate::conninfo::{Client, ConnInfo, Purpose};
use crate::db::Store;
use crate::metrics::METRICS;
use crate::preflight::{Level, SourceState, render};
use crate::source::catalog::{self, Table};
use crate::terminal::chain;

/// A configuration as it was read again.
pub type Reloads = mpsc::Receiver<Result<Config, ConfigError>>;

pub(super) struct Reloader {
    pub(super) source: ConnInfo,
    pub(super) store: Store,
    pub(super) instance: Uuid,
    pub(super) generation: Arc<Generation>,
    pub(super) event_types: EventTypes,
    /// `None` where the process does not capture: then nothing runs the rules here.
    pub(super) capture: Option<watch::Sender<Arc<Generation>>>,
}

impl Reloader {
    pub(super) async fn run(
        mut self,
        mut reloads: Reloads,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        succeeded();
        self.announce().await;
        loop {
            let read = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                read = reloads.recv() => read,
            };
            let Some(read) = read else {
                // Nobody asks in this process.
                stop.cancelled().await;
                return Ok(());
            };
            let reloaded = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                reloaded = self.reload(read) => reloaded,
            };
            match reloaded {
                Ok(()) => succeeded(),
                Err(error) => failed(&error),
            }
        }
    }

    async fn reload(&mut self, read: Result<Config, ConfigError>) -> anyhow::Result<()> {
        let read = read?;
        let running = &self.generation;
        let differing = running.config.differing_settings(&read);
        if !differing.is_empty() {
            tracing::warn!(
                settings = differing.join(", "),
                "these settings were changed and need a restart; only rules are taken over while walhook runs"
            );
        }
        let generation = Generation::compile(running.config.with_rules_of(read))?;
        if generation.rules.is_empty() {
            bail!("the configuration has no [[events]]");
        }
        if generation.hash == running.hash && !running.refused.load(Ordering::Relaxed) {
            tracing::info!(rules = %generation.hash, "the rules are the same as before");
            return Ok(());
        }
        if self.capture.is_some() {
            self.prepare(&generation).await?;
        }
        self.generation = Arc::new(generation);
        self.event_types.set(self.generation.event_types());
        if let Some(capture) = &self.capture {
            capture.send_replace(Arc::clone(&self.generation));
        }
        tracing::info!(
            rules = %self.generation.hash,
            count = self.generation.rules.len(),
            "the rules were read again; capture takes them over at the next transaction"
        );
        self.announce().await;
        Ok(())
    }

    /// Checks the rules against the live tables, and adds those that are missing to the
    /// publication.
    async fn prepare(&self, generation: &Generation) -> anyhow::Result<()> {
        let Generation {
            config,
            rules: new_rules,
            ..
        } = generation;
        let reach = || format!("reach the source {}", self.source.describe());
        let client = self.source.connect_writable(Purpose::Reload).await;
        let client = client.with_context(reach)?;
        client.limit_lock_wait().await?;
        let state = SourceState::read(&client, config, new_rules).await?;
        let mut findings = state.publishing_findings();
        findings.retain(|finding| finding.level == Level::Failure);
        if !findings.is_empty() {
            return Err(render(&findings).into());
        }
        let described: Vec<_> = state.tables.iter().map(Table::description).collect();
        let existing = catalog::list(&client).await?;
        let errors = new_rules.check(&described, &existing);
        let judged = rules::judge(&self.store, config, errors).await?;
        if !judged.new.is_empty() {
            return Err(config.locate(judged.new).into());
        }
        publish(&client, &state, config).await
    }

    /// Tells the others, and `walhook status`, which rules this instance has.
    async fn announce(&self) {
        let announced = async {
            let query = include_str!("../../sql/queries/app/announce_rules.sql");
            let client = self.store.get().await?;
            let hash = &self.generation.hash;
            client.execute(query, &[&self.instance, hash]).await?;
            anyhow::Ok(())
        };
        if let Err(error) = announced.await {
            tracing::warn!(
                error = format!("{error:#}"),
                "cannot tell the store which rules run here"
            );
        }
    }
}

async fn publish(client: &Client, state: &SourceState, config: &Config) -> anyhow::Result<()> {
    let name = &config.source.publication;
    let Some(published) = &state.publication else {
        bail!("the publication `{name}` does not exist: run `walhook check`");
    };
    let statements = published.growth(name, &state.tables, state.server.version_number);
    if statements.is_empty() {
        return Ok(());
    }
    let sql = statements.join(" ");
    match client.batch_execute(&sql).await {
        Ok(()) => {
            tracing::info!(publication = name, sql, "the publication was altered");
            Ok(())
        }
        // Another instance that reads the same rules came first.
        Err(error) if error.code() == Some(&SqlState::DUPLICATE_OBJECT) => Ok(()),
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => bail!(
            "the publication `{name}` lacks what the rules need, and only the owner of the tables and of the \
             publication may alter it: have them run this, then reload again: {sql}"
        ),
        Err(error) => Err(error).with_context(|| format!("alter the publication `{name}`: {sql}")),
    }
}

fn succeeded() {
    METRICS.reload_successful.set(1);
    METRICS
        .reload_success_seconds
        .set(Timestamp::now().as_second());
}

pub(super) fn failed(error: &anyhow::Error) {
    METRICS.reload_successful.set(0);
    // An event of the log is one line, also where several things are wrong.
    let text = chain(error);
    let things: Vec<&str> = text.lines().map(str::trim).collect();
    tracing::error!(
        "the new rules are refused, and the rules of before stay: {}",
        things.join("; ")
    );
}
