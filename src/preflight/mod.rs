//! What must hold before `walhook run`: what the source and the store are, read once, and what
//! follows from it. Nothing is changed. `walhook check` shows all of it, `walhook setup` and
//! rules that are read again stop at its failures.

use anyhow::Context;
use secrecy::ExposeSecret;

use crate::config::Config;
use crate::conninfo::{Client, ConnInfo, Purpose};
use crate::db::{IdentityError, SchemaError, SchemaState, Store, StoreRecord};
use crate::mapping::{RuleSet, TableName};
use crate::replication::{slot, slot::SlotState};
use crate::source::catalog::{self, Table};
use crate::source::gaps;
use crate::source::progress::{self, Progress};
use crate::source::publication::{self, Publication};
use crate::source::server::{Role, Server};
use crate::subscription::directory::Counts;
use crate::terminal::chain;

mod creators;
mod examples;
mod finding;
mod shadow;
mod source;
mod standby;
mod store;
mod tables;
mod tenant_role;

use creators::Creator;

pub use finding::{Finding, Level, render};
pub(crate) use standby::copies as standby_copies;
pub(crate) use store::ForeignStore;
pub use store::{StoreRole, role as store_role};
pub(crate) use tables::partitioned_root;
pub use tenant_role::{TenantRole, grant as grant_tenant_role};

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
        let shares = config
            .source_conninfo()
            .and_then(|source| Ok(config.store_conninfo(&source)?.is_same_database(&source)));
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

    pub fn publication_findings(&self, config: &Config) -> Vec<Finding> {
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
                Counts::read(&client)
                    .await
                    .map(|counts| counts.active + counts.disabled)?,
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
    let Ok(source) = config.source_conninfo() else {
        return false;
    };
    let place = |conninfo: &ConnInfo| (conninfo.host().to_owned(), conninfo.port());
    config
        .store_conninfo(&source)
        .is_ok_and(|store| place(&store) == place(&source))
}
