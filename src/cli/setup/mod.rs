//! `walhook setup`.

use std::fmt;

use anyhow::{Context, bail};
use tokio_postgres::Client;

use super::catalog::Table;
use super::check::{Finding, Level, SourceState, StoreState, render};
use super::progress::{self, Progress};
use super::publication;
use super::{Outcome, harm};
use crate::config::Config;
use crate::conninfo::ConnInfo;
use crate::lsn::Lsn;
use crate::replication::slot;
use crate::secret::EncryptionKey;

mod print_sql;

/// Make the store, the publication and the slot
///
/// Creates what is missing, in this order: the store's tables, the encryption key file,
/// the publication (exactly the tables that rules watch), the replication slot, and the
/// record of where it begins. Run it again after every change of the rules: what is
/// there already is kept, a publication that differs is altered.
///
/// It refuses where a published table would make the application's own writes fail, and
/// says which SQL mends that.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  walhook setup
  walhook setup --print-sql > walhook.sql    for a DBA: roles, publication, slot
  walhook setup --recreate-slot              after the slot was lost or dropped

Next: `walhook token create --tenant …`, then `walhook run`.")]
pub struct Args {
    /// Print the statements for a DBA, with least-privilege roles, and change nothing.
    #[arg(long, conflicts_with = "recreate_slot")]
    print_sql: bool,

    /// Drop the slot, if it still exists, and begin anew at the present. What was
    /// committed since the recorded progress is NOT delivered.
    #[arg(long)]
    recreate_slot: bool,
}

/// What setup did, step by step.
#[derive(Clone, Debug, Default)]
pub struct SetupReport {
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub what: String,
    pub done: Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It was there, as it should be.
    Kept,
    Made,
    Changed,
}

impl SetupReport {
    fn add(&mut self, done: Done, what: impl Into<String>) {
        let what = what.into();
        self.steps.push(Step { what, done });
    }
}

impl fmt::Display for SetupReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            let done = match step.done {
                Done::Kept => "kept   ",
                Done::Made => "made   ",
                Done::Changed => "changed",
            };
            writeln!(f, "{done}  {}", step.what)?;
        }
        Ok(())
    }
}

pub async fn run(args: Args, config: &Config) -> anyhow::Result<Outcome> {
    if args.print_sql {
        super::print(&print_sql::statements(config)?)?;
        return Ok(Outcome::Holds);
    }
    let report = begin(config, args.recreate_slot).await?;
    super::print(&format!("{report}\nNext: `walhook run`.\n"))?;
    Ok(Outcome::Holds)
}

/// Makes everything that `walhook run` needs, and keeps what is there. May be run any
/// number of times, also while walhook runs.
pub async fn set_up(config: &Config) -> anyhow::Result<SetupReport> {
    begin(config, false).await
}

async fn begin(config: &Config, recreate_slot: bool) -> anyhow::Result<SetupReport> {
    let rules = super::rules(config)?;
    let conninfo = super::source(config)?;
    let client = super::connect_source(&conninfo, "setup").await?;
    // A lock that somebody holds for long must not leave ours waiting in the queue.
    client
        .batch_execute(include_str!("../../../sql/queries/limit_lock_wait.sql"))
        .await?;
    let source = SourceState::read(&client, config, &rules).await?;
    let store = StoreState::read(config).await?;
    refuse(
        source
            .preconditions(config, &rules)
            .chain(store.preconditions(config)),
    )?;

    let mut report = SetupReport::default();
    make_store(config, &store, &mut report).await?;
    make_key(config, &store, &mut report)?;
    let connection = store.store.get().await.context("reach the store")?;
    let progress = progress::read(&connection, &config.source.slot).await?;
    let slot = SlotSetup {
        config,
        client: &client,
        conninfo: &conninfo,
        source: &source,
        store: &connection,
        progress: progress.as_ref(),
        recreate: recreate_slot,
    };
    slot.make(&mut report).await?;
    Ok(report)
}

/// Stops on what setup cannot mend, before anything was changed.
fn refuse(findings: impl Iterator<Item = Finding>) -> anyhow::Result<()> {
    let failures: Vec<Finding> = findings
        .filter(|finding| finding.level == Level::Failure)
        .collect();
    if failures.is_empty() {
        return Ok(());
    }
    bail!(
        "nothing was changed, because:\n{}",
        render(&failures).trim_end()
    );
}

async fn make_store(
    config: &Config,
    state: &StoreState,
    report: &mut SetupReport,
) -> anyhow::Result<()> {
    let applied = state.store.migrate().await?;
    let what = format!("the store, schema `{}`", config.store.schema);
    let done = match (applied.is_empty(), state.started) {
        (true, _) => Done::Kept,
        (false, true) => Done::Changed,
        (false, false) => Done::Made,
    };
    report.add(done, what);
    // A role that may create roles is, from 16 on, a member of what it created
    // without the right to become it.
    let client = state.store.get().await.context("reach the store")?;
    let role = super::check::store_role(&client, &config.store.schema).await?;
    if !role.may_become_tenant {
        client
            .batch_execute(include_str!("../../../sql/queries/join_tenant_role.sql"))
            .await
            .context("make the store's role a member of walhook_tenant: have a DBA run `grant walhook_tenant to …`")?;
    }
    Ok(())
}

fn make_key(config: &Config, state: &StoreState, report: &mut SetupReport) -> anyhow::Result<()> {
    let path = &config.security.encryption_key_file;
    let what = format!("the encryption key file `{}`", path.display());
    if path.exists() {
        EncryptionKey::load(path)?;
        report.add(Done::Kept, what);
        return Ok(());
    }
    if state.subscriptions > 0 {
        bail!("{what} is missing and the store holds secrets that it encrypted: put it back");
    }
    EncryptionKey::create(path)?;
    report.add(
        Done::Made,
        format!("{what}: keep a copy, and give it to every instance"),
    );
    Ok(())
}

/// The publication, the slot and the record of where it begins belong together.
struct SlotSetup<'a> {
    config: &'a Config,
    client: &'a Client,
    conninfo: &'a ConnInfo,
    source: &'a SourceState,
    store: &'a Client,
    progress: Option<&'a Progress>,
    recreate: bool,
}

impl SlotSetup<'_> {
    async fn make(&self, report: &mut SetupReport) -> anyhow::Result<()> {
        let mut state = self.source.slot.clone();
        if self.recreate {
            if let Some(old) = &state {
                self.drop_slot(old.active_pid).await?;
            }
            state = None;
        } else if self.progress.is_some() || state.is_some() {
            // A slot of which nothing is recorded may be of another kind.
            self.verify().await?;
        }
        let published = self.make_publication(report).await?;
        let (start, made) = match &state {
            None => (self.create_slot().await?, Done::Made),
            Some(slot) => {
                let confirmed = slot.confirmed_flush_lsn.unwrap_or(Lsn::ZERO);
                match published {
                    // The slot stands before the publication's creation, where it would
                    // jam. Nothing was ever taken from it, so nothing is lost.
                    Done::Made => (self.advance_slot().await?, Done::Changed),
                    Done::Kept | Done::Changed => (confirmed, Done::Kept),
                }
            }
        };
        report.add(made, format!("the slot `{}`", self.config.source.slot));
        self.record(start, report).await
    }

    async fn verify(&self) -> anyhow::Result<()> {
        let system = progress::identify(self.client, self.conninfo, self.progress).await?;
        let recorded = self.progress.map(|progress| &progress.recorded);
        let name = &self.config.source.slot;
        slot::verify(recorded, &system, name, self.source.slot.as_ref())?;
        if self.source.publication.is_none() && self.progress.is_some() {
            bail!(
                "the publication `{}` does not exist any more: the slot `{name}` needs it at every change since it \
                 was dropped, and creating it now does not help for those. Run `walhook setup --recreate-slot`; what \
                 was committed since then is not delivered",
                self.config.source.publication
            );
        }
        Ok(())
    }

    async fn make_publication(&self, report: &mut SetupReport) -> anyhow::Result<Done> {
        let name = &self.config.source.publication;
        let tables = &self.source.tables;
        let version = self.source.server.version_number;
        let statements = match &self.source.publication {
            None => {
                let generated = harm::needs_generated_columns(tables, version);
                let names = tables.iter().map(Table::name);
                vec![publication::create_statement(name, names, generated)]
            }
            Some(publication) => {
                let differences = publication.differences(tables, version);
                let statements = publication::alter_statements(name, tables, &differences);
                if statements.is_empty() && !differences.is_empty() {
                    bail!(
                        "the publication `{name}` is FOR ALL TABLES, which cannot become a list of tables: set \
                         source.publication to another name, then run `walhook setup --recreate-slot`"
                    );
                }
                statements
            }
        };
        let done = match (&self.source.publication, statements.is_empty()) {
            (None, _) => Done::Made,
            (Some(_), true) => Done::Kept,
            (Some(_), false) => Done::Changed,
        };
        if !statements.is_empty() {
            // One transaction, so that no change meets a publication half altered.
            let statements = statements.join("\n");
            self.client.batch_execute(&statements).await.with_context(|| {
                format!(
                    "make the publication `{name}` (have the owner of the tables run this, and run setup \
                     again): {statements}"
                )
            })?;
        }
        let count = tables.len();
        report.add(
            done,
            format!("the publication `{name}` of {count} table(s)"),
        );
        Ok(done)
    }

    async fn create_slot(&self) -> anyhow::Result<Lsn> {
        // From 17 on a slot can follow a fail-over; the server ignores it until
        // standbys are told to synchronise slots.
        let failover = self.source.server.version_number >= 170_000;
        let creating = slot::create(self.client, &self.config.source.slot, failover);
        let mut creating = std::pin::pin!(creating);
        match tokio::time::timeout(SLOT_PATIENCE, &mut creating).await {
            Ok(created) => Ok(created?),
            Err(_) => {
                tracing::warn!(
                    "the slot waits for every transaction that was open when its creation began; \
                     see pg_stat_activity for old ones"
                );
                Ok(creating.await?)
            }
        }
    }

    async fn advance_slot(&self) -> anyhow::Result<Lsn> {
        let query = include_str!("../../../sql/queries/advance_slot.sql");
        let name = &self.config.source.slot;
        let row = self.client.query_one(query, &[name]).await;
        let row = row.with_context(|| format!("advance the slot `{name}` to the publication"))?;
        Ok(row.get(0))
    }

    async fn drop_slot(&self, active_pid: Option<i32>) -> anyhow::Result<()> {
        let name = &self.config.source.slot;
        if let Some(pid) = active_pid {
            bail!(
                "the slot `{name}` is in use by the walsender with pid {pid}: stop `walhook run` first"
            );
        }
        Ok(slot::drop(self.client, name).await?)
    }

    /// Records where the slot begins, unless progress is recorded already.
    async fn record(&self, start: Lsn, report: &mut SetupReport) -> anyhow::Result<()> {
        if self.progress.is_some() && !self.recreate {
            report.add(Done::Kept, "the recorded progress");
            return Ok(());
        }
        let system = slot::identify_system(self.client).await?;
        let (commit, acknowledged) = progress::beginning(start);
        let query = match self.recreate {
            true => include_str!("../../../sql/queries/restart_progress.sql"),
            false => include_str!("../../../sql/queries/insert_progress.sql"),
        };
        let identifier = system.system_identifier.to_string();
        self.store
            .execute(
                query,
                &[
                    &self.config.source.slot,
                    &identifier,
                    &system.timeline,
                    &commit,
                    &acknowledged,
                ],
            )
            .await
            .context("record where the slot begins")?;
        if self.recreate {
            let restart = include_str!("../../../sql/queries/shadow_restart.sql");
            let restarted = self
                .store
                .execute(restart, &[&self.config.source.slot])
                .await
                .context("let the shadow of old values be made anew")?;
            if restarted > 0 {
                report.add(
                    Done::Changed,
                    format!("the shadow of old values of {restarted} table(s): made anew by `walhook run`"),
                );
            }
        }
        match self.progress {
            Some(before) => {
                let from = before.recorded.acknowledged_lsn;
                tracing::warn!(%from, to = %start, "the slot was made anew: what was committed between is not delivered");
                report.add(
                    Done::Changed,
                    format!("the recorded progress: changes committed between {from} and {start} are NOT delivered"),
                );
            }
            None => report.add(
                Done::Made,
                format!("the record of progress, from {start} on"),
            ),
        }
        Ok(())
    }
}

/// How long a slot's creation may take before we say what it waits for.
const SLOT_PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
