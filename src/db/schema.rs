//! The store's schema: one file, applied once, whose fingerprint the store keeps.

use anyhow::Context;
use sha2::{Digest, Sha256};

use super::{Store, quote_identifier, tenant_role_name};
use crate::conninfo::Queries;

/// The tables, whole. Applied once: a store that another file made is refused.
const SCHEMA: &str = include_str!("../../sql/schema/0001.sql");

/// What stands in the schema that `store.schema` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaState {
    /// No table of ours, or no schema.
    Absent,
    /// The tables of this binary, and the role that the API's queries run as.
    Current { tenant_role: String },
    /// The tables of another version, older or newer.
    Other,
}

/// The store cannot be used, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("the store {store}, schema `{schema}`, is not set up: run `walhook setup`")]
    Absent { store: String, schema: String },
    #[error(
        "the store {store}, schema `{schema}`, was made by another version of walhook, and this \
         one cannot use it: run the version that made it; or remove it (`walhook teardown \
         --store`, or `drop schema {} cascade`) or set store.schema to a new name, and run \
         `walhook setup`. A new store has none of the old one's subscriptions, API tokens, events and \
         deliveries: what is not delivered yet never is, and what commits before the new setup makes no \
         event",
        quote_identifier(schema)
    )]
    Other { store: String, schema: String },
    #[error(
        "the store {store}, schema `{schema}`, was set up with the tenant role `{kept}`, and \
         store.tenant_role is `{configured}`: take the key out, or name the same role"
    )]
    TenantRole {
        store: String,
        schema: String,
        kept: String,
        configured: String,
    },
}

impl Store {
    /// Reads the catalog and the fingerprint.
    pub async fn schema_state(&self) -> anyhow::Result<SchemaState> {
        let reach = || format!("reach the store {} (store.url)", self.describe());
        let client = self.get().await.with_context(reach)?;
        read_state(&*client, &self.schema).await
    }

    /// Fails with a [`SchemaError`] unless the tables are those of this binary.
    pub async fn check_schema(&self) -> anyhow::Result<()> {
        let state = self.schema_state().await?;
        self.require(&state).map_err(Into::into)
    }

    /// Fails with the remedy unless the tables are those of this binary, as configured.
    pub fn require(&self, state: &SchemaState) -> Result<(), SchemaError> {
        let (store, schema) = (self.describe(), self.schema.clone());
        match state {
            SchemaState::Current { tenant_role } => {
                match self.configured_tenant_role.is_empty()
                    || self.configured_tenant_role == *tenant_role
                {
                    true => Ok(()),
                    false => Err(SchemaError::TenantRole {
                        store,
                        schema,
                        kept: tenant_role.clone(),
                        configured: self.configured_tenant_role.clone(),
                    }),
                }
            }
            SchemaState::Absent => Err(SchemaError::Absent { store, schema }),
            SchemaState::Other => Err(SchemaError::Other { store, schema }),
        }
    }

    /// The role that the API's queries run as, or will once the store is set up.
    pub fn tenant_role(&self, state: &SchemaState) -> String {
        let configured = &self.configured_tenant_role;
        match state {
            SchemaState::Current { tenant_role } => tenant_role.clone(),
            SchemaState::Absent | SchemaState::Other => {
                tenant_role_name(configured, self.conninfo.dbname(), &self.schema)
            }
        }
    }

    /// Creates the schema and its tables where they are absent, in one transaction. Returns
    /// whether it created them. The caller holds the lock that keeps others from doing it at once.
    pub async fn create_schema(&self) -> anyhow::Result<bool> {
        let mut client = self
            .get()
            .await
            .with_context(|| format!("connect to the store {}", self.describe()))?;
        let transaction = client.transaction().await?;
        let state = read_state(&transaction, &self.schema).await?;
        if state != SchemaState::Absent {
            self.require(&state)?;
            return Ok(false);
        }
        let schema = quote_identifier(&self.schema);
        // `create schema if not exists` asks for the right to create even where the
        // schema exists, and a role that was given its schema need not have it.
        let exists: bool = transaction
            .query_one(
                include_str!("../../sql/queries/db/schema_exists.sql"),
                &[&self.schema],
            )
            .await?
            .get(0);
        if !exists {
            transaction
                .batch_execute(&format!("create schema {schema}"))
                .await
                .with_context(|| format!("create the store's schema {schema}"))?;
        }
        let tenant_role = self.tenant_role(&state);
        let exists: bool = transaction
            .query_one(
                include_str!("../../sql/queries/db/tenant_role_exists.sql"),
                &[&tenant_role],
            )
            .await?
            .get(0);
        if !exists {
            let create = format!("create role {} nologin", quote_identifier(&tenant_role));
            transaction
                .batch_execute(&create)
                .await
                .with_context(|| format!("create the tenant role `{tenant_role}`"))?;
        }
        // Functions keep this path: a temporary table never stands for one of the store's.
        transaction
            .batch_execute(&format!("set local search_path = {schema}, pg_temp"))
            .await?;
        transaction
            .batch_execute(&statements(&self.schema, &tenant_role))
            .await
            .context("create the store's tables")?;
        transaction
            .execute(
                include_str!("../../sql/queries/db/insert_store.sql"),
                &[&fingerprint(), &tenant_role],
            )
            .await
            .context("record what the store knows of itself")?;
        transaction.commit().await?;
        Ok(true)
    }
}

async fn read_state(client: &impl Queries, schema: &str) -> anyhow::Result<SchemaState> {
    let row = client
        .query_one(
            include_str!("../../sql/queries/db/store_schema.sql"),
            &[&schema],
        )
        .await
        .context("look for the store's tables")?;
    if !row.get::<_, bool>("has_fingerprint") {
        return Ok(match row.get("has_tables") {
            true => SchemaState::Other,
            false => SchemaState::Absent,
        });
    }
    let row = client
        .query_opt(
            include_str!("../../sql/queries/db/read_fingerprint.sql"),
            &[],
        )
        .await
        .context("read the fingerprint of the store's schema")?;
    let found: Option<Vec<u8>> = row.map(|row| row.get("schema_sha256"));
    if found.is_none_or(|found| found != fingerprint()) {
        return Ok(SchemaState::Other);
    }
    let row = client
        .query_one(
            include_str!("../../sql/queries/db/read_tenant_role.sql"),
            &[],
        )
        .await
        .context("read the store's tenant role")?;
    Ok(SchemaState::Current {
        tenant_role: row.get(0),
    })
}

/// The schema's file with its names filled in, each as a quoted identifier, as psql does it.
fn statements(schema: &str, tenant_role: &str) -> String {
    SCHEMA
        .replace(":\"tenant_role\"", &quote_identifier(tenant_role))
        .replace(":\"schema\"", &quote_identifier(schema))
}

fn fingerprint() -> Vec<u8> {
    Sha256::digest(SCHEMA).to_vec()
}
