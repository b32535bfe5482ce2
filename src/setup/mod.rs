//! Makes what `walhook run` needs: the store, the encryption key, the publication and the slot.

use anyhow::{Context, bail};
use jiff::Timestamp;

use crate::config::Config;
use crate::conninfo::{Client, Purpose};
use crate::mapping::TableName;
use crate::mapping::file::RuleConfig;
use crate::preflight::{self, Finding, Level, SourceState, StoreState, render};
use crate::replication;
use crate::secret::EncryptionKey;
use crate::source::catalog::Table;
use crate::source::{self, gaps, progress};
use crate::terminal::Lines;

mod accepted;
mod lock;
mod print_sql;
mod published;
mod readable;
mod slot;

pub use accepted::AcceptedGap;
pub(crate) use lock::SetupLock;
pub use print_sql::statements as print_sql;
use slot::SlotSetup;

/// What setup did, step by step.
#[derive(Clone, Debug, Default)]
pub struct SetupReport {
    pub steps: Vec<Step>,
    /// What can never be delivered, where `--accept-gap` went on after it.
    pub gap: Option<AcceptedGap>,
    /// Gaps that capture had gone on after, and that are accepted now, each with when the
    /// last event before it was committed.
    pub accepted: Vec<(gaps::Open, Option<Timestamp>)>,
    /// Those that still wait for that.
    pub open: Vec<gaps::Open>,
    /// The rules, of which a gap says which tables to backfill.
    pub rules: Vec<RuleConfig>,
    /// The tables that they watch, where they exist.
    pub tables: Vec<Table>,
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

impl SetupReport {
    pub fn lines(&self) -> Lines {
        let mut lines = Lines::default();
        for step in &self.steps {
            let done = match step.done {
                Done::Kept => "kept   ",
                Done::Made => "made   ",
                Done::Changed => "changed",
            };
            lines.line(format_args!("{done}  {}", step.what));
        }
        accepted::write(&mut lines, self);
        lines
    }
}

/// Makes everything that `walhook run` needs, and keeps what is there. May be run any
/// number of times, also while walhook runs.
pub async fn set_up(config: &Config) -> anyhow::Result<SetupReport> {
    set_up_with(config, false, false).await
}

/// As [`set_up`]; `accept_gap` goes on after what was lost, `remove_tables` takes what no rule watches
/// out of the publication.
pub async fn set_up_with(
    config: &Config,
    accept_gap: bool,
    remove_tables: bool,
) -> anyhow::Result<SetupReport> {
    let rules = config.rules_to_watch()?;
    let conninfo = config.source_conninfo()?;
    let client = source::connect(&conninfo, Purpose::Command("setup")).await?;
    let _lock = SetupLock::take(config, &conninfo, "setup").await?;
    let source = SourceState::read(&client, config, &rules).await?;
    let standby = source.standby(&client, &conninfo).await;
    let store = StoreState::read(config, Purpose::Command("setup")).await?;
    refuse(
        standby
            .into_iter()
            .chain(source.preconditions(config, &rules))
            .chain(store.preconditions(config)),
    )?;
    let writable = source::connect_writable(&conninfo, "setup").await?;
    writable.limit_lock_wait().await?;

    let mut report = SetupReport::default();
    make_store(config, &store, &mut report).await?;
    make_key(config, &store, &mut report).await?;
    let connection = store.store.get().await.context("reach the store")?;
    let progress = progress::read(&connection, &config.source.slot).await?;
    let watched: Vec<TableName> = rules.tables().cloned().collect();
    let slot = SlotSetup {
        config,
        client: &client,
        writable: &writable,
        conninfo: &conninfo,
        source: &source,
        watched: &watched,
        pool: &store.store,
        store: &connection,
        progress: progress.as_ref(),
        wedged: store.wedged.as_deref(),
        accept_gap,
        remove_tables,
    };
    slot.make(&mut report).await?;
    record_source(config, &writable, &connection).await?;
    Ok(report)
}

/// Stops on what setup cannot fix, before anything was changed.
fn refuse(findings: impl Iterator<Item = Finding>) -> anyhow::Result<()> {
    let failures: Vec<Finding> = findings
        .filter(|finding| finding.level == Level::Failure)
        .collect();
    if failures.is_empty() {
        return Ok(());
    }
    let mut why = Lines::default();
    why.line("nothing was changed, because:");
    why.append(render(&failures));
    Err(why.into())
}

async fn make_store(
    config: &Config,
    state: &StoreState,
    report: &mut SetupReport,
) -> anyhow::Result<()> {
    let what = format!("the store, schema `{}`", config.store.schema);
    let done = match state.store.create_schema().await? {
        true => Done::Made,
        false => Done::Kept,
    };
    report.add(done, what);
    // A role that may create roles is, from 16 on, a member of what it created
    // without the right to become it.
    let client = state.store.get().await.context("reach the store")?;
    let schema = state.store.schema_state().await?;
    let tenant_role = state.store.tenant_role(&schema);
    let role = preflight::store_role(&client, &config.store.schema, &tenant_role).await?;
    if !role.may_become_tenant {
        let grant = preflight::grant_tenant_role(&tenant_role, &role);
        let granted = client.batch_execute(&grant).await;
        granted.with_context(|| format!("join the tenant role: have a DBA run `{grant}`"))?;
    }
    Ok(())
}

async fn make_key(
    config: &Config,
    state: &StoreState,
    report: &mut SetupReport,
) -> anyhow::Result<()> {
    let path = &config.security.encryption_key_file;
    let what = format!("the encryption key file `{}`", path.display());
    if path.exists() {
        let key = config.security.load_key()?;
        state.store.agree_on_key(&key).await?;
        report.add(Done::Kept, what);
        return Ok(());
    }
    if state.subscriptions > 0 {
        bail!("{what} is missing and the store holds secrets that it encrypted: put it back");
    }
    // Nothing is encrypted that another key could read.
    let key = EncryptionKey::create(path)?;
    state.store.replace_key(&key).await?;
    report.add(
        Done::Made,
        format!("{what}: keep a copy, and give it to every instance"),
    );
    Ok(())
}

/// Keeps on record which source the store's events are of.
async fn record_source(config: &Config, source: &Client, store: &Client) -> anyhow::Result<()> {
    let system = replication::slot::identify_system(source).await?;
    let database = source
        .query_one(
            include_str!("../../sql/queries/setup/current_database.sql"),
            &[],
        )
        .await
        .context("read which database the source is")?;
    store
        .execute(
            include_str!("../../sql/queries/setup/record_source.sql"),
            &[
                &system.system_identifier.to_string(),
                &system.timeline,
                &database.get::<_, u32>("oid"),
                &database.get::<_, String>("name"),
                &config.source.slot,
            ],
        )
        .await
        .context("record the source's identity")?;
    Ok(())
}
