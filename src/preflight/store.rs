//! The store: whether our role may keep it, and the key that its secrets need.

use anyhow::Context;

use super::finding::Finding;
use super::tenant_role::TenantRole;
use crate::conninfo::Client;
use crate::db::{SchemaError, SchemaState, Store, StoreKey, StoreRecord, quote_identifier};
use crate::delivery::client::SecurityConfig;
use crate::secret::KeyFileError;

/// What the store's role may do.
#[derive(Clone, Debug)]
pub struct StoreRole {
    pub version_number: i32,
    pub encoding: String,
    pub in_recovery: bool,
    pub database: String,
    pub name: String,
    pub superuser: bool,
    pub bypasses_rls: bool,
    pub may_create_role: bool,
    pub may_create_schema: bool,
    pub schema_exists: bool,
    pub may_create_in_schema: bool,
    pub tenant_role_exists: bool,
    /// It may log in or pass row-level security by.
    pub tenant_role_may_too_much: bool,
    /// May `set role` to the tenant role, as the API does for each request.
    pub may_become_tenant: bool,
    /// Roles that may do all that this one may, but for superusers.
    pub members: Vec<String>,
}

pub async fn role(client: &Client, schema: &str, tenant_role: &str) -> anyhow::Result<StoreRole> {
    let row = client
        .query_one(
            include_str!("../../sql/queries/preflight/store_role.sql"),
            &[&schema, &tenant_role],
        )
        .await
        .context("read the rights of the store's role")?;
    Ok(StoreRole {
        version_number: row.get("version_number"),
        encoding: row.get("encoding"),
        in_recovery: row.get("in_recovery"),
        database: row.get("database"),
        name: row.get("name"),
        superuser: row.get("superuser"),
        bypasses_rls: row.get("bypasses_rls"),
        may_create_role: row.get("may_create_role"),
        may_create_schema: row.get("may_create_schema"),
        schema_exists: row.get("schema_exists"),
        may_create_in_schema: row.get("may_create_in_schema"),
        tenant_role_exists: row.get("tenant_role_exists"),
        tenant_role_may_too_much: row.get("tenant_role_may_too_much"),
        may_become_tenant: row.get("may_become_tenant"),
        members: row.get("members"),
    })
}

pub(super) fn store_findings(
    role: &StoreRole,
    store: &Store,
    state: &SchemaState,
    tenant_role: &TenantRole,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let schema = store.schema();
    let owner = quote_identifier(&role.name);
    if role.version_number < 140_000 {
        findings.push(Finding::failure(
            "the store's server is older than PostgreSQL 14",
            "upgrade it, or point store.url at a newer one",
        ));
    }
    if role.in_recovery {
        findings.push(Finding::failure(
            "the store's server is a standby",
            "the store is written to: point store.url at the primary",
        ));
    }
    if role.encoding != "UTF8" {
        findings.push(Finding::failure(
            format!(
                "the store's database `{}` is encoded in {}",
                role.database, role.encoding
            ),
            "events are UTF-8: put the store into a database of that encoding",
        ));
    }
    findings.push(match (store.require(state), role.schema_exists) {
        (Ok(()), _) => Finding::ok(format!("the store `{schema}` is set up for this version")),
        (Err(error @ (SchemaError::Other { .. } | SchemaError::TenantRole { .. })), _) => {
            Finding::failure("the store cannot be used", error.to_string())
        }
        (Err(SchemaError::Absent { .. }), true) if !role.may_create_in_schema => Finding::failure(
            format!(
                "the role `{}` may not create in the schema `{schema}`",
                role.name
            ),
            "the store's role owns its schema",
        )
        .mend(format!(
            "alter schema {} owner to {owner};",
            quote_identifier(schema)
        )),
        (Err(SchemaError::Absent { .. }), true) => {
            Finding::setup(format!("the store `{schema}` has no tables"))
        }
        (Err(SchemaError::Absent { .. }), false) if !role.may_create_schema => Finding::failure(
            format!(
                "the schema `{schema}` does not exist and the role `{}` may not create it",
                role.name
            ),
            "the store's role owns its schema",
        )
        .mend(format!(
            "create schema {} authorization {owner};",
            quote_identifier(schema)
        )),
        (Err(SchemaError::Absent { .. }), false) => {
            Finding::setup(format!("the store's schema `{schema}` does not exist"))
        }
    });
    findings.extend(tenant_role.findings(role));
    findings.extend(role.members.iter().map(|member| {
        Finding::warning(
            format!(
                "the role `{member}` is a member of the store's role `{}`",
                role.name
            ),
            "it reads and changes what every tenant has: an administrator may be, another \
             installation's role must not",
        )
    }));
    if role.superuser || role.bypasses_rls {
        findings.push(Finding::warning(
            format!(
                "walhook keeps its store as `{}`, {}",
                role.name,
                if role.superuser { "a superuser" } else { "which bypasses row-level security" }
            ),
            "tenants stay apart, because the API drops to the tenant role, but this login \
             reads everything where it leaks: `walhook setup --print-sql` says how to make a role with less",
        ));
    }
    findings
}

/// Whether the store is where it was made.
pub(super) fn identity_finding(record: &StoreRecord) -> Finding {
    match record.identity.judge() {
        Ok(()) => Finding::ok("the store is where it was made"),
        Err(error) => Finding::failure("the store is not to be used as it is", error.to_string()),
    }
}

/// The key files; `recorded` is the store's key, `in_use`: it already encrypted something.
pub(super) fn key_finding(
    security: &SecurityConfig,
    recorded: Option<&StoreKey>,
    in_use: bool,
) -> Finding {
    let path = &security.encryption_key_file;
    let what = format!("the encryption key file `{}`", path.display());
    let settled = |key| recorded.map_or(Ok(()), |recorded| recorded.settle(&key));
    match security.load_key() {
        Ok(key) => match settled(key) {
            Ok(()) => Finding::ok(format!(
                "{what} is readable by its owner only, and holds the store's key"
            )),
            Err(error) => Finding::failure(
                format!("{what} does not hold the store's key"),
                error.to_string(),
            ),
        },
        Err(KeyFileError::Missing { path: missing }) if missing != *path => Finding::failure(
            format!(
                "the previous encryption key file `{}` does not exist",
                missing.display()
            ),
            "put it back, or remove security.previous_encryption_key_file once `walhook rotate-key` is done",
        ),
        Err(KeyFileError::Missing { .. }) if !in_use => {
            Finding::setup(format!("{what} does not exist"))
        }
        Err(KeyFileError::Missing { .. }) => Finding::failure(
            format!("{what} does not exist, but the store holds secrets that it encrypted"),
            "put it back; without it every subscription needs a new secret",
        ),
        Err(KeyFileError::TooOpen { mode, path }) => Finding::failure(
            format!(
                "the encryption key file `{}` may be read by others (mode {mode:04o})",
                path.display()
            ),
            "whoever reads it can sign as you",
        )
        .mend(format!("chmod 600 '{}'", path.display())),
        Err(error) => Finding::failure(what, crate::terminal::chain(&error.into())),
    }
}

/// The store was made under another role, and ours may not do as that one does.
#[derive(Debug, thiserror::Error)]
#[error(
    "the tables in the schema `{schema}` belong to the role `{owner}`, and `{role}` has none of its rights"
)]
pub(crate) struct ForeignStore {
    pub(crate) schema: String,
    pub(crate) owner: String,
    pub(crate) role: String,
}

pub(super) async fn refuse_foreign_owner(client: &Client, schema: &str) -> anyhow::Result<()> {
    let query = include_str!("../../sql/queries/preflight/store_foreign_owner.sql");
    let row = client.query_one(query, &[&schema]).await;
    let row = row.context("look for the store's tables")?;
    if let Some(owner) = row.get("foreign_owner") {
        return Err(ForeignStore {
            schema: schema.to_owned(),
            owner,
            role: row.get("name"),
        }
        .into());
    }
    Ok(())
}
