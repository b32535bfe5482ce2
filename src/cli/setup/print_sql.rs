//! `walhook setup --print-sql`: what a DBA has to run where walhook's own roles must
//! not have the right to. Nothing is connected to: the configuration says it all.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use secrecy::ExposeSecret;

use crate::cli::{catalog, publication};
use crate::config::Config;
use crate::conninfo::ConnInfo;
use crate::db::{quote_identifier, tenant_role_name};
use crate::mapping::TableName;

/// A superuser runs the script, in a session as the database makes it: a function of another
/// login's must not be called in place of PostgreSQL's own.
const EMPTY_PATH: &str =
    "-- Only PostgreSQL's own functions and operators are called.\nset search_path = '';\n\n";

/// The statements, for psql.
pub(super) fn statements(config: &Config) -> anyhow::Result<String> {
    let rules = crate::cli::rules(config)?;
    let source = crate::cli::source(config)?;
    let store = match config.store.url.expose_secret() {
        "" => None,
        url => Some(ConnInfo::parse(url)?),
    };
    let capture_role = login(&source);
    let store_role = store.as_ref().map_or(capture_role, login);
    let tables: Vec<_> = rules.tables().collect();
    let same_database = store
        .as_ref()
        .is_none_or(|store| store.is_same_database(&source));

    let database = config_dbname(store.as_ref(), &source);
    let tenant_role = tenant_role_name(&config.store.tenant_role, database, &config.store.schema);

    let mut sql = String::from(
        "-- What walhook needs, with the least rights. Run it with psql, as a superuser or as the\n\
         -- owner of the tables with CREATEROLE. A role that exists already: take its line out.\n\n",
    );
    sql.push_str(EMPTY_PATH);
    let _ = write!(
        sql,
        "-- 1. On the source, database {database}.\n\
         -- The role that reads the log. REPLICATION lets it read every change of the whole cluster:\n\
         -- keep its password as you keep the database's. It needs no right on a table but those below.\n\
         create role {role} login replication;\n\
         -- \\password {role}\n\
         grant connect on database {database} to {role};\n\n\
         -- The publication, before the slot. It carries exactly the tables that rules watch.\n\
         -- On PostgreSQL 18, where a replica identity covers a stored generated column, it also needs\n\
         -- publish_generated_columns = stored: `walhook check` says so.\n\
         {publication}\n\n",
        database = quote_identifier(source.dbname()),
        role = quote_identifier(capture_role),
        publication = publication::create_statement(&config.source.publication, tables, false),
    );
    if source.primary().is_some() {
        let _ = write!(
            sql,
            "-- The source is a standby: these statements are the primary's. The slot is made on the standby, at\n\
             -- a snapshot that the primary logs when it is asked to.\n\
             grant execute on function pg_log_standby_snapshot() to {};\n\n",
            quote_identifier(capture_role)
        );
    }
    let shadowed: Vec<&TableName> = rules
        .tables()
        .filter(|table| rules.may_use_shadow(table))
        .collect();
    if !shadowed.is_empty() {
        sql.push_str(
            "-- Rules need old values of these tables. Where the log does not carry them (any table without\n\
             -- REPLICA IDENTITY FULL) walhook keeps them itself, and reads the table once to begin.\n",
        );
        let schemas: BTreeSet<&str> = shadowed.iter().map(|table| &*table.schema).collect();
        for schema in schemas {
            let _ = writeln!(
                sql,
                "grant usage on schema {} to {};",
                quote_identifier(schema),
                quote_identifier(capture_role)
            );
        }
        for table in shadowed {
            let _ = writeln!(
                sql,
                "grant select on {} to {};",
                catalog::sql_name(table),
                quote_identifier(capture_role)
            );
        }
        sql.push('\n');
    }
    if !same_database {
        let _ = writeln!(
            sql,
            "-- 2. On the store's server, database {}.",
            quote_identifier(config_dbname(store.as_ref(), &source))
        );
        sql.push_str(EMPTY_PATH);
    } else {
        sql.push_str("-- 2. The store, in the same database.\n");
    }
    if store_role == capture_role {
        sql.push_str(
            "-- One role does both, because store.url is empty or names the same one: with a role of\n\
             -- its own for the store, API and delivery need no REPLICATION.\n",
        );
    } else {
        let _ = write!(
            sql,
            "create role {role} login;\n\
             -- \\password {role}\n\
             grant connect on database {database} to {role};\n",
            role = quote_identifier(store_role),
            database = quote_identifier(config_dbname(store.as_ref(), &source)),
        );
    }
    let _ = write!(
        sql,
        "-- The API answers each tenant under this role, which sees that tenant's rows only.\n\
         -- It is this installation's alone: no other may be a member of it.\n\
         create role {tenant_role} nologin;\n\
         -- From PostgreSQL 16 on its rights are to be had by becoming it only.\n\
         select format('grant %I to %I', {tenant_role_text}, {role_text})\n\
         \x20   || case when current_setting('server_version_num')::integer >= 160000\n\
         \x20       then ' with set true, inherit false' else '' end \\gexec\n\
         create schema {schema} authorization {role};\n\n\
         -- 3. Then, with source.url and store.url naming these roles: `walhook setup` makes the store's tables, the key file and the slot.\n\
         -- To make the slot here instead, after the publication:\n\
         -- select pg_create_logical_replication_slot({slot}, 'pgoutput');\n\
         -- From PostgreSQL 17 on, so that it follows a fail-over to a synchronised standby:\n\
         -- select pg_create_logical_replication_slot({slot}, 'pgoutput', false, false, true);\n",
        tenant_role = quote_identifier(&tenant_role),
        tenant_role_text = quote_literal(&tenant_role),
        role_text = quote_literal(store_role),
        role = quote_identifier(store_role),
        schema = quote_identifier(&config.store.schema),
        slot = quote_literal(&config.source.slot),
    );
    Ok(sql)
}

/// The role that a URL logs in as. The server's own superuser is nobody to log in as:
/// a role of ours stands in its place.
fn login(conninfo: &ConnInfo) -> &str {
    match conninfo.user() {
        "postgres" => "walhook",
        user => user,
    }
}

fn config_dbname<'a>(store: Option<&'a ConnInfo>, source: &'a ConnInfo) -> &'a str {
    store.unwrap_or(source).dbname()
}

fn quote_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
