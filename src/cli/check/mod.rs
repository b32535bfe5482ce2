//! `walhook check`: what must hold, found without changing anything.

use anyhow::Context;
use secrecy::ExposeSecret;

use super::status::Subscriptions;
use super::{Outcome, chain};
use crate::config::Config;
use crate::conninfo::{Client, ConnInfo, Purpose};
use crate::db::{IdentityError, SchemaError, SchemaState, Store, StoreRecord};
use crate::mapping::{RuleSet, TableName};
use crate::replication::{self, slot, slot::SlotState};
use crate::source::catalog::{self, Table};
use crate::source::gaps;
use crate::source::progress::{self, Progress};
use crate::source::publication::{self, Publication};
use crate::source::server::{Role, Server};

mod connections;
mod creators;
mod examples;
mod finding;
mod machine;
mod position;
mod reach;
mod shadow;
mod source;
mod standby;
mod store;
mod tables;
mod tenant_role;

use creators::Creator;
use position::Position;

pub use finding::{Finding, Level, render};
pub use store::{StoreRole, role as store_role};
pub(super) use tables::partitioned_root;
pub use tenant_role::{TenantRole, grant as grant_tenant_role};

/// Look whether everything that must hold does, without changing anything
///
/// Looks at the source's server, its role, the tables and columns that rules name, what
/// publishing them would break, the publication, the store, the encryption key and the
/// slot; and whether this machine has the files and the address that `walhook run` would
/// use. Each failure comes with the SQL that fixes it. What `walhook setup` will make
/// is listed and is no failure.
///
/// Exit code 0: no failure. 1: at least one.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  walhook check
  walhook check --strict         before `walhook run`: also fails on what setup has yet to make
  walhook check --json | jq '.findings[] | select(.level == \"failure\")'

Next: `walhook setup`.")]
pub struct Args {
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,

    /// Fail also on warnings and on what `walhook setup` has yet to make.
    #[arg(long)]
    strict: bool,
}

pub async fn run(args: Args, config: &Config) -> anyhow::Result<Outcome> {
    let findings = findings(config).await?;
    if args.json {
        super::print_json(&serde_json::json!({ "findings": findings }))?;
    } else {
        super::print_lines(&render(&findings))?;
    }
    let stands_against = |finding: &Finding| match finding.level {
        Level::Ok => false,
        Level::Setup | Level::Warning => args.strict,
        Level::Failure => true,
    };
    Ok(Outcome::of(!findings.iter().any(stands_against)))
}

/// Everything that there is to say, in the order in which it should be fixed.
async fn findings(config: &Config) -> anyhow::Result<Vec<Finding>> {
    let rules = super::rules(config)?;
    let conninfo = super::source(config)?;
    let mut findings = Vec::new();
    // Before the store: a running walhook records what it acknowledges before the slot
    // moves, and so a slot that is read first is never ahead of the record.
    let source = async {
        let client = super::connect_source(&conninfo, Purpose::Inspection("check")).await?;
        let state = SourceState::read(&client, config, &rules).await?;
        anyhow::Ok((client, state))
    };
    let source = Box::pin(source).await;
    let store = match StoreState::read(config, Purpose::Inspection("check")).await {
        Ok(store) => Some(store),
        Err(error) => {
            let conninfo = super::store(config, &conninfo).ok();
            findings.push(reach::unreachable("the store", &error, conninfo.as_ref()));
            None
        }
    };
    match source {
        Err(error) => findings.insert(0, reach::unreachable("the source", &error, Some(&conninfo))),
        Ok((client, source)) => {
            findings.extend(source.preconditions(config, &rules));
            findings.extend(source.standby(&client, &conninfo).await);
            findings.extend(standby::copies(&client, &conninfo, &config.source.slot).await);
            if source.role.may_replicate() {
                findings.push(walsender(&conninfo).await);
            }
            findings.extend(source.publication(config));
            let position = Position {
                client: &client,
                conninfo: &conninfo,
                config,
                source: &source,
                progress: store.as_ref().and_then(|store| store.progress.as_ref()),
                wedged: store.as_ref().and_then(|store| store.wedged.as_deref()),
            };
            findings.extend(position.findings().await);
            let store = match &store {
                Some(store) => store.store.get().await.ok(),
                None => None,
            };
            let to_store = super::store(config, &conninfo)?;
            let store = store.as_deref().map(|client| (client, &to_store));
            let api = config.store.connections;
            let limits = connections::findings((&client, &conninfo), store, api);
            findings.extend(limits.await);
        }
    }
    if let Some(store) = store {
        findings.extend(store.preconditions(config));
        findings.extend(store.unreadable_subscriptions().await);
    }
    findings.extend(machine::findings(config).await);
    Ok(findings)
}

/// Whether a walsender serves us: `pg_hba.conf`, a free walsender, password and TLS
/// stand in the way of this connection just as of the one that streams.
async fn walsender(conninfo: &ConnInfo) -> Finding {
    match replication::identify(conninfo).await {
        Ok(system) => Finding::ok(format!(
            "a walsender answers: system {}, timeline {}",
            system.system_identifier, system.timeline
        )),
        Err(error) => Finding::failure("no walsender can be reached", chain(&error.into())),
    }
}

/// What the source is, read once.
pub struct SourceState {
    pub server: Server,
    pub role: Role,
    /// The watched tables that exist.
    pub tables: Vec<Table>,
    /// Every table of the database, to suggest names; read only where one is missing.
    existing: Vec<String>,
    pub publication: Option<Publication>,
    /// The tables that the publication carries and no rule watches.
    extra: Vec<Table>,
    pub slot: Option<SlotState>,
    separate_store: bool,
    shadowed: Vec<shadow::Shadowed>,
}

impl SourceState {
    pub async fn read(client: &Client, config: &Config, rules: &RuleSet) -> anyhow::Result<Self> {
        let server = Server::read(client).await?;
        let role = Role::read(client).await?;
        let watched: Vec<TableName> = rules.tables().cloned().collect();
        let tables = catalog::describe(client, &watched).await?;
        let existing = match tables.len() == watched.len() {
            true => Vec::new(),
            false => catalog::list(client).await?,
        };
        let name = &config.source.publication;
        let publication = publication::inspect(client, name, server.version_number).await?;
        let extra: Vec<TableName> = publication
            .iter()
            .flat_map(|publication| &publication.tables)
            .map(|table| table.name.clone())
            .filter(|table| !watched.contains(table))
            .collect();
        Ok(SourceState {
            extra: catalog::describe(client, &extra).await?,
            slot: slot::inspect(client, &config.source.slot).await?,
            separate_store: !config.store.url.expose_secret().is_empty(),
            shadowed: Box::pin(shadow::read(client, rules, &tables)).await?,
            server,
            role,
            tables,
            existing,
            publication,
        })
    }

    /// What `walhook setup` cannot fix.
    pub fn preconditions(&self, config: &Config, rules: &RuleSet) -> impl Iterator<Item = Finding> {
        let active = self
            .slot
            .as_ref()
            .is_some_and(|slot| slot.active_pid.is_some());
        source::server_findings(
            &self.server,
            self.slot.is_some(),
            active,
            self.separate_store,
        )
        .into_iter()
        .chain(source::budget_finding(
            &config.source,
            &self.server,
            shares_cluster(config),
        ))
        .chain(source::role_findings(&self.role, &self.server))
        .chain(tables::table_findings(
            config,
            rules,
            &self.tables,
            &self.existing,
            self.server.version_number,
        ))
        .chain(self.own_tables(config))
        .chain(examples::findings(config, rules, &self.tables))
        .chain(shadow::findings(&self.shadowed, &self.role))
    }

    /// What publishing the watched tables breaks, and what stands against their seeds.
    pub fn publishing_findings(&self) -> Vec<Finding> {
        let version = self.server.version_number;
        let harms = self
            .tables
            .iter()
            .flat_map(|table| tables::harm_findings(table, version));
        harms
            .chain(shadow::findings(&self.shadowed, &self.role))
            .collect()
    }

    /// What a standby needs as a source, or a primary so that one may take its place.
    pub async fn standby(&self, client: &Client, conninfo: &ConnInfo) -> Vec<Finding> {
        let mut findings = standby::findings(client, conninfo, &self.server).await;
        match standby::failover(client, &self.server).await {
            Ok(finding) => findings.extend(finding),
            Err(error) => findings.push(Finding::warning(
                "the settings for a fail-over cannot be read",
                chain(&error),
            )),
        }
        findings
    }

    /// Rules on our own tables: each event would be a change that makes an event.
    fn own_tables(&self, config: &Config) -> Vec<Finding> {
        let own = |table: &&Table| table.name().schema == config.store.schema;
        let shares = super::source(config)
            .and_then(|source| Ok(super::store(config, &source)?.is_same_database(&source)));
        let watched = self.tables.iter().filter(own);
        watched
            .filter(|_| shares.as_ref().is_ok_and(|shares| *shares))
            .map(|table| {
                Finding::failure(
                    format!("{} is in the schema of walhook's store", table.name()),
                    "every event would be a change there, and make an event again: take the rule out",
                )
            })
            .collect()
    }

    fn publication(&self, config: &Config) -> Vec<Finding> {
        tables::PublicationCheck {
            name: &config.source.publication,
            publication: self.publication.as_ref(),
            wanted: &self.tables,
            extra: &self.extra,
            lacks_table: !self.existing.is_empty(),
            role: &self.role,
            server_version: self.server.version_number,
            started: self.slot.is_some(),
        }
        .findings()
    }
}

/// What the store is, read once.
pub struct StoreState {
    pub store: Store,
    pub role: StoreRole,
    pub schema: SchemaState,
    pub tenant_role: TenantRole,
    /// Who else may create in its schema.
    creators: Vec<Creator>,
    pub progress: Option<Progress>,
    /// Why capture could not get past the recorded progress, where only it could tell.
    pub wedged: Option<String>,
    /// How many subscriptions' secrets the key encrypts.
    pub subscriptions: i64,
    /// What the store says of itself; `None` before setup.
    pub record: Option<StoreRecord>,
}

impl StoreState {
    pub async fn read(config: &Config, purpose: Purpose) -> anyhow::Result<Self> {
        let store = Store::open(&config.store, config.source.writable_url(), purpose)?;
        let schema = store.schema().to_owned();
        let client = store
            .get()
            .await
            .with_context(|| format!("reach the store {} (store.url)", store.describe()))?;
        store::refuse_foreign_owner(&client, &schema).await?;
        drop(client);
        let state = store.schema_state().await?;
        let client = store.get().await?;
        let role = store::role(&client, &schema, &store.tenant_role(&state)).await?;
        let creators = creators::read(&client, &schema).await?;
        let tenant_role = tenant_role::read(&client, &store, &state).await?;
        let (progress, wedged, subscriptions, record) = match state {
            SchemaState::Absent | SchemaState::Other => (None, None, 0, None),
            SchemaState::Current { .. } => (
                progress::read(&client, &config.source.slot).await?,
                gaps::wedged(&client, &config.source.slot).await?,
                store::count_subscriptions(&client).await?,
                Some(StoreRecord::read(&*client).await?),
            ),
        };
        Ok(StoreState {
            schema: state,
            tenant_role,
            creators,
            wedged,
            store,
            role,
            progress,
            subscriptions,
            record,
        })
    }

    fn creator_findings(&self) -> impl Iterator<Item = Finding> {
        let (schema, login) = (self.store.schema(), &self.role.name);
        self.creators
            .iter()
            .map(move |creator| creator.finding(schema, login))
    }

    /// Fails with the remedy where the store is not this version's, as configured.
    pub fn usable(&self) -> Result<(), SchemaError> {
        self.store.require(&self.schema)
    }

    /// Subscriptions that an instance could not read.
    async fn unreadable_subscriptions(&self) -> Option<Finding> {
        self.record.as_ref()?;
        let read = async {
            let client = self.store.get().await.context("reach the store")?;
            Subscriptions::read(&client).await
        };
        match read.await {
            Ok(subscriptions) => {
                let why = "rotate the secret, or set what it names again";
                Some(Finding::warning(subscriptions.problem()?, why))
            }
            Err(error) => Some(Finding::failure(
                "the subscriptions cannot be read",
                chain(&error),
            )),
        }
    }

    /// Why nothing may be sent from this store, if so.
    pub fn refusal(&self) -> Option<IdentityError> {
        self.record.as_ref()?.identity.judge().err()
    }

    pub fn preconditions(&self, config: &Config) -> impl Iterator<Item = Finding> {
        let identity = self.record.as_ref().map(store::identity_finding);
        let recorded = self.record.as_ref().and_then(|record| record.key.as_ref());
        let key = store::key_finding(&config.security, recorded, self.subscriptions > 0);
        store::store_findings(&self.role, &self.store, &self.schema, &self.tenant_role)
            .into_iter()
            .chain(self.creator_findings())
            .chain(identity)
            .chain([key])
    }
}

/// Whether the store is in the cluster that it is fed from.
fn shares_cluster(config: &Config) -> bool {
    let Ok(source) = super::source(config) else {
        return false;
    };
    let place = |conninfo: &ConnInfo| (conninfo.host().to_owned(), conninfo.port());
    super::store(config, &source).is_ok_and(|store| place(&store) == place(&source))
}
