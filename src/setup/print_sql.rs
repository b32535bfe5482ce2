//! `walhook setup --print-sql`: one script for psql with everything that walhook's own roles
//! must not have the right to make. It connects to nothing: the configuration says it all.

use std::fmt::Write as _;

use secrecy::ExposeSecret;

use crate::config::Config;
use crate::conninfo::ConnInfo;
use crate::conninfo::url;
use crate::db::sql_text::{dollar_quote, filled, quote_literal};
use crate::db::{quote_identifier, tenant_role_name};
use crate::mapping::TableName;
use crate::source::{catalog, publication, rights};
use crate::terminal::visible;

const HEAD: &str = "\
-- What walhook needs, with the least rights, for psql:
--     psql -v ON_ERROR_STOP=1 -f walhook.sql
-- Run it as a superuser. On a managed service run it as the administrator, who must also have the rights of
-- the tables' owner. It may be run again: what is there already is kept. It sets no passwords.
\\set ON_ERROR_STOP on

";

/// An administrator runs the script, in a session as the database makes it: a function of another
/// login's must not be called in place of PostgreSQL's own.
const EMPTY_PATH: &str =
    "-- Only PostgreSQL's own functions and operators are called.\nset search_path = '';\n\n";

/// The statements, for psql.
pub fn statements(config: &Config) -> anyhow::Result<String> {
    let rules = config.rules_to_watch()?;
    let source = config.source_conninfo()?;
    let store = config.store_conninfo(&source)?;
    let script = Script {
        config,
        tables: rules.tables().collect(),
        capture: login(&source),
        owner: login(&store),
        is_standby: source.primary().is_some(),
        // Publication and grants are the primary's.
        source: source.primary().unwrap_or(&source),
        store: &store,
    };
    Ok(script.text())
}

/// The role that a URL logs in as. walhook must not log in as the server's own superuser: a role
/// of ours stands in its place.
fn login(conninfo: &ConnInfo) -> &str {
    match conninfo.user() {
        "postgres" => "walhook",
        user => user,
    }
}

struct Script<'a> {
    config: &'a Config,
    tables: Vec<&'a TableName>,
    /// The role that reads the WAL.
    capture: &'a str,
    /// The role that owns the store.
    owner: &'a str,
    source: &'a ConnInfo,
    is_standby: bool,
    store: &'a ConnInfo,
}

impl Script<'_> {
    fn text(&self) -> String {
        let mut sql = String::from(HEAD);
        let _ = writeln!(
            sql,
            "-- 1. The source, database {}.",
            visible(self.source.dbname())
        );
        sql.push_str(EMPTY_PATH);
        self.write_capture_role(&mut sql);
        self.write_publication(&mut sql);
        self.write_reading(&mut sql);
        self.write_store(&mut sql);
        let slot = quote_literal(&self.config.source.slot);
        let _ = write!(
            sql,
            "\n-- 3. Then, with source.url and store.url naming these roles: `walhook setup` makes the store's tables, the\n\
             -- key file and the slot. To make the slot here instead, after the publication:\n\
             -- select pg_create_logical_replication_slot({slot}, 'pgoutput');\n\
             -- From PostgreSQL 17 on, so that it follows a fail-over to a synchronised standby:\n\
             -- select pg_create_logical_replication_slot({slot}, 'pgoutput', false, false, true);\n",
        );
        sql
    }

    fn write_capture_role(&self, sql: &mut String) {
        let role = quote_literal(self.capture);
        let _ = write!(
            sql,
            "-- The role that reads the WAL. REPLICATION lets it read every change of the whole cluster: guard its\n\
             -- password as you do a superuser's. On Amazon RDS the right comes with the role rds_replication.\n\
             {create}\
             select case when exists (select from pg_roles where rolname = 'rds_replication') then {on_rds}\n\
             \x20       else {elsewhere} end\n\
             \x20   from pg_roles where rolname = {role} and not rolsuper and not rolreplication and not exists (\n\
             \x20       select from pg_roles as rds where rds.rolname = 'rds_replication'\n\
             \x20           and pg_has_role({role}, rds.oid, 'member')) \\gexec\n\
             {connect}\n\n",
            create = create_role(self.capture, "login"),
            on_rds = literal(&rights::replicate(self.capture, true)),
            elsewhere = literal(&rights::replicate(self.capture, false)),
            connect = rights::connect(self.capture, self.source.dbname()),
        );
    }

    /// Makes the publication, or adds to it what it lacks.
    fn write_publication(&self, sql: &mut String) {
        let name = &self.config.source.publication;
        let (quoted, text) = (quote_identifier(name), quote_literal(name));
        let create = publication::create_statement(name, self.tables.iter().copied(), false);
        let tables = self.regclasses();
        sql.push_str(
            "-- The application must go on writing: without a replica identity a published table refuses that.\n",
        );
        sql.push_str(&filled(
            include_str!("../../sql/script/refuse_harm.sql"),
            &[("{dollar}", &dollar_quote(&tables)), ("{tables}", &tables)],
        ));
        let _ = writeln!(
            sql,
            "\n-- The publication, before the slot. It carries the tables that rules watch.\n\
             select {} where not exists (select from pg_publication where pubname = {text}) \\gexec",
            literal(&create)
        );
        for table in &self.tables {
            let table = catalog::sql_name(table);
            // ONLY: tables that inherit from it would come along, unchecked.
            let add = format!("alter publication {quoted} add table only {table}");
            let _ = writeln!(
                sql,
                "select {} where not exists (select from pg_publication_rel as published\n    \
                     join pg_publication as publication on publication.oid = published.prpubid\n    \
                     where pubname = {text} and prrelid = {}::regclass) \\gexec",
                quote_literal(&add),
                quote_literal(&table)
            );
        }
        let set = format!("alter publication {quoted} set (publish_generated_columns = stored)");
        sql.push_str(
            "-- On PostgreSQL 18, where a replica identity covers a stored generated column.\n",
        );
        sql.push_str(&filled(
            include_str!("../../sql/script/publish_generated_columns.sql"),
            &[
                ("{set}", &quote_literal(&set)),
                ("{publication}", &text),
                ("{tables}", &self.regclasses()),
            ],
        ));
        sql.push('\n');
    }

    /// What a backfill and the beginning of a shadow need.
    fn write_reading(&self, sql: &mut String) {
        if self.is_standby {
            let _ = write!(
                sql,
                "-- The source is a standby: these statements are the primary's. The slot is made on the standby, at\n\
                 -- a snapshot that the primary logs when it is asked to.\n\
                 grant execute on function pg_log_standby_snapshot() to {};\n\n",
                quote_identifier(self.capture)
            );
        }
        sql.push_str(
            "-- It reads each table once where rules need old values, and whenever `walhook backfill` sends rows that\n\
             -- exist already. With REPLICATION it sees every change of these tables all the same.\n",
        );
        let mut granted = Vec::new();
        for table in &self.tables {
            for grant in rights::read_whole(self.capture, table) {
                if !granted.contains(&grant) {
                    let _ = writeln!(sql, "{grant}");
                    granted.push(grant);
                }
            }
        }
        let _ = write!(
            sql,
            "-- Where row-level security is on, it would miss rows in silence.\n\
             select {bypass}\n    \
                 from pg_roles where rolname = {role} and not rolsuper and not rolbypassrls and exists (\n    \
                 select from pg_class where oid = any ({tables}) and relrowsecurity) \\gexec\n\n",
            bypass = literal(&rights::pass_policies(self.capture)),
            role = quote_literal(self.capture),
            tables = self.regclasses(),
        );
    }

    fn write_store(&self, sql: &mut String) {
        let database = self.store.dbname();
        if self.store.is_same_database(self.source) {
            sql.push_str("-- 2. The store, in the same database.\n");
        } else {
            let place = |conninfo: &ConnInfo| (conninfo.host().to_owned(), conninfo.port());
            let elsewhere = place(self.store) != place(self.source);
            let (shown, name) = (visible(database), quote_identifier(database));
            match elsewhere {
                true => {
                    let _ = writeln!(
                        sql,
                        "-- 2. The store, database {shown} of another server, which must exist. psql goes on there, as the same user."
                    );
                }
                false => {
                    let _ = writeln!(
                        sql,
                        "-- 2. The store, database {shown} of the same server.\n\
                         select {} where not exists (select from pg_database where datname = {}) \\gexec",
                        quote_literal(&format!("create database {name}")),
                        quote_literal(database)
                    );
                }
            }
            let _ = writeln!(
                sql,
                "\\connect -reuse-previous=on {}",
                url::of_database(self.store, elsewhere)
            );
            sql.push_str(EMPTY_PATH);
        }
        if self.owner == self.capture && self.config.store.url.expose_secret().is_empty() {
            sql.push_str(
                "-- One role does both, because store.url is empty: with a role of its own for the store, API and\n\
                 -- delivery need no REPLICATION.\n",
            );
        }
        let _ = writeln!(
            sql,
            "{}{}",
            create_role(self.owner, "login"),
            rights::connect(self.owner, database)
        );
        self.write_tenant_role(sql);
        self.write_schema(sql);
    }

    fn write_tenant_role(&self, sql: &mut String) {
        let store = &self.config.store;
        let tenant_role = tenant_role_name(&store.tenant_role, self.store.dbname(), &store.schema);
        let _ = write!(
            sql,
            "-- The API's queries run as this role, which sees one tenant's rows only. It is this installation's\n\
             -- alone: no other role may be a member of it. From PostgreSQL 16 on its rights are to be had by\n\
             -- becoming it only.\n\
             {create}\
             select format('grant %I to %I', {tenant_role}, {owner})\n    \
                 || case when current_setting('server_version_num')::integer >= 160000\n        \
                 then ' with set true, inherit false' else '' end \\gexec\n",
            create = create_role(&tenant_role, "nologin"),
            tenant_role = quote_literal(&tenant_role),
            owner = quote_literal(self.owner),
        );
    }

    /// Who is no superuser makes a schema for another role only as a member of it.
    fn write_schema(&self, sql: &mut String) {
        let schema = &self.config.store.schema;
        let (owner, text) = (quote_identifier(self.owner), quote_literal(self.owner));
        let create = format!(
            "create schema {} authorization {owner}",
            quote_identifier(schema)
        );
        sql.push_str(
            "-- An administrator who is no superuser has to be a member of a role to make a schema for it.\n",
        );
        sql.push_str(&filled(
            include_str!("../../sql/script/create_schema.sql"),
            &[
                ("{owner_name}", &owner),
                ("{owner}", &text),
                ("{schema}", &quote_literal(schema)),
                ("{create}", &quote_literal(&create)),
            ],
        ));
    }

    /// The tables as an array, for SQL.
    fn regclasses(&self) -> String {
        let names = self.tables.iter();
        let names: Vec<String> = names
            .map(|table| format!("{}::regclass", quote_literal(&catalog::sql_name(table))))
            .collect();
        format!("array[{}]", names.join(", "))
    }
}

/// Makes a role where there is none of that name. For psql, which alone knows `\gexec`.
fn create_role(name: &str, attributes: &str) -> String {
    format!(
        "select {} where not exists (select from pg_roles where rolname = {}) \\gexec\n",
        quote_literal(&format!(
            "create role {} {attributes}",
            quote_identifier(name)
        )),
        quote_literal(name)
    )
}

/// A statement as a text, for `\gexec`.
fn literal(statement: &str) -> String {
    quote_literal(statement.trim_end_matches(';'))
}
