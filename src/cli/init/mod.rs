//! `walhook init`: a first configuration for a database that exists.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::{Outcome, UsageError};
use crate::conninfo::{Client, ConnInfo, Purpose, column, url};
use crate::mapping::TableName;
use crate::mapping::file::nearest;
use crate::replication::{SourceConfig, slot};
use crate::source::catalog::{self, Table, TableKind};
use crate::source::server::Server;
use crate::terminal::{Lines, tell};

mod file;
mod proposal;
mod tenant;

use proposal::Proposal;
use tenant::Tenant;

/// Write a walhook.toml for your database
///
/// Reads the database's catalog with the login that the URL names, and changes nothing there:
/// the login needs no right on the tables. It proposes the tenant column and, for each table,
/// an event of its new rows. What `walhook check` would refuse stands in comments, each with
/// the reason. Without --table it lists the tables. It never overwrites a file.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  walhook init postgres://postgres@db/app                           list its tables
  walhook init postgres://postgres@db/app --table public.payments   write walhook.toml

Next: `walhook setup --print-sql`.")]
pub struct Args {
    /// The database, as postgres://user@host/database.
    url: String,
    /// A table whose changes are to make events, as schema.table. May be given more than once.
    #[arg(long = "table", value_name = "TABLE")]
    tables: Vec<String>,
    /// The column that says whose row it is. Default: tenant_id, account_id or the like.
    #[arg(long, value_name = "COLUMN", conflicts_with = "one_tenant")]
    tenant: Option<String>,
    /// All rows belong to this one tenant.
    #[arg(long, value_name = "TENANT")]
    one_tenant: Option<String>,
    /// The database for walhook's own tables, as a URL. Default: a schema beside the application's.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// The file to write; `-` prints.
    #[arg(long, value_name = "FILE", default_value = "walhook.toml")]
    output: PathBuf,
}

pub async fn run(args: Args) -> anyhow::Result<Outcome> {
    let conninfo = ConnInfo::parse(&args.url).context("read the URL")?;
    let source = url_of_role("walhook", &args.url, &conninfo)?;
    let store = match &args.store {
        None => url_of_role("walhook_store", &args.url, &conninfo)?,
        Some(store) => {
            let to_store = ConnInfo::parse(store).context("read --store")?;
            url_of_role("walhook_store", store, &to_store)?
        }
    };
    let names = names(&args.tables)?;
    let client = conninfo.connect(Purpose::Inspection("init"), None).await;
    let client = client.with_context(|| format!("reach {}", conninfo.describe()))?;
    if names.is_empty() {
        list(&client).await?;
        return Ok(Outcome::Holds);
    }
    let server = Server::read(&client).await?;
    if server.in_recovery {
        return Err(UsageError(format!(
            "{} is a standby: give the URL of its primary, where the roles are made; /docs/availability says how to \
             capture from a standby",
            conninfo.describe()
        ))
        .into());
    }
    let tables = described(&client, &names).await?;
    let tenant = Tenant::of(args.tenant.as_deref(), args.one_tenant.as_deref(), &tables)?;
    let slot = free_slot(&client, conninfo.dbname()).await?;
    let proposals: Vec<Proposal> = tables
        .iter()
        .map(|table| Proposal::of(table, &tables, &tenant, server.version_number))
        .collect();
    let file = file::File {
        source: &source,
        store: &store,
        slot: slot.as_deref(),
        tenant: &tenant,
        proposals: &proposals,
    };
    write(&args.output, &file.text())?;
    let refused: Vec<String> = proposals
        .iter()
        .filter(|proposal| !proposal.is_accepted())
        .map(|proposal| proposal.table.to_string())
        .collect();
    if !refused.is_empty() {
        tell(format_args!(
            "The rules of these tables stand in comments, each with the reason: {}",
            refused.join(", ")
        ));
    }
    Ok(Outcome::of(refused.len() < proposals.len()))
}

fn names(given: &[String]) -> Result<Vec<TableName>, UsageError> {
    let mut names = Vec::new();
    for text in given {
        let name = TableName::parse(text).ok_or_else(|| {
            UsageError(format!(
                "--table {text} is not a table's name: expected schema.table, each part in double quotes where it \
                 has a dot"
            ))
        })?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// The named tables, or all that is wrong with the names.
async fn described(client: &Client, names: &[TableName]) -> anyhow::Result<Vec<Table>> {
    let tables = catalog::describe(client, names).await?;
    let existing = match tables.len() == names.len() {
        true => Vec::new(),
        false => catalog::list(client).await?,
    };
    let mut refused = Lines::default();
    for name in names {
        let table = tables.iter().find(|table| table.name() == name);
        let why = match table {
            None => format!("it does not exist{}", near(name, &existing)),
            Some(table) => match reason_to_refuse(table) {
                Some(why) => why.to_owned(),
                None => continue,
            },
        };
        refused.line(format_args!("{name}: {why}"));
    }
    match refused == Lines::default() {
        true => Ok(tables),
        false => Err(anyhow::Error::from(refused)
            .context(UsageError("these tables cannot be watched".to_owned()))),
    }
}

/// What no change of the table would fix.
fn reason_to_refuse(table: &Table) -> Option<&'static str> {
    if table.name().schema == "walhook" {
        return Some("its schema is that of walhook's own tables");
    }
    match table.storage.kind {
        TableKind::Ordinary | TableKind::Partitioned => None,
        TableKind::View | TableKind::MaterializedView => {
            Some("it is a view: name the table behind it")
        }
        TableKind::Foreign => Some("it is a foreign table: its rows are in another server's WAL"),
        TableKind::System => Some("it is a table of PostgreSQL's own, which cannot be published"),
    }
}

/// The name that was probably meant: the same in another schema or case, else the nearest of
/// the schema.
fn near(name: &TableName, existing: &[String]) -> String {
    let (whole, last) = (name.to_string(), format!(".{}", name.name));
    let is_same = |candidate: &&String| {
        candidate.eq_ignore_ascii_case(&whole) || candidate.ends_with(last.as_str())
    };
    let of_schema = existing.iter().filter_map(|candidate| {
        let rest = candidate.strip_prefix(name.schema.as_str())?;
        rest.strip_prefix('.')
    });
    match existing.iter().find(is_same) {
        Some(same) => format!("; did you mean `{same}`?"),
        None => match nearest(&name.name, of_schema) {
            Some(near) => format!("; did you mean `{}.{near}`?", name.schema),
            None => "; `walhook init URL` lists the tables".to_owned(),
        },
    }
}

/// A slot's name for this database, where the usual one is taken: names are those of the
/// whole cluster.
async fn free_slot(client: &Client, database: &str) -> anyhow::Result<Option<String>> {
    let usual = SourceConfig::default().slot;
    let taken = match slot::inspect(client, &usual).await? {
        Some(slot) => slot.database.as_deref() != Some(database),
        None => false,
    };
    let plain = |c: char| match c.is_ascii_alphanumeric() {
        true => c.to_ascii_lowercase(),
        false => '_',
    };
    let own = || {
        usual
            .chars()
            .chain(['_'])
            .chain(database.chars().map(plain))
    };
    Ok(taken.then(|| own().take(LONGEST_NAME).collect()))
}

/// Of a slot, in bytes: `NAMEDATALEN` and its final zero.
const LONGEST_NAME: usize = 63;

async fn list(client: &Client) -> anyhow::Result<()> {
    let query = include_str!("../../../sql/queries/cli/list_candidates.sql");
    let rows = client.query(query, &[]).await;
    let rows = rows.context("list the database's tables")?;
    if rows.is_empty() {
        return super::print("The database has no tables.");
    }
    let mut lines = Lines::default();
    lines.line("Tables, with about how many rows each has:");
    for row in &rows {
        let name = TableName {
            schema: column(row, "schema")?,
            name: column(row, "name")?,
        };
        let estimate = match column(row, "estimate")? {
            ..0 => "?".to_owned(),
            rows @ 0i64.. => rows.to_string(),
        };
        lines.line(format_args!("{estimate:>12}  {}", name.to_sql()));
    }
    lines.line("");
    lines.line("Name those whose changes are to make events, as in:");
    lines.line("  walhook init URL --table schema.table");
    super::print_lines(&lines)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if path.as_os_str() == "-" {
        return super::print_file(text);
    }
    let shown = path.display();
    let opened = OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => anyhow::Error::from(UsageError(format!(
            "{shown} exists already and was not changed: move it away, or name another file with --output"
        ))),
        _ => anyhow::Error::from(error).context(format!("write {shown}")),
    })?;
    if let Err(error) = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
    {
        // Half a configuration must not be taken for one.
        let _ = fs::remove_file(path);
        return Err(error).context(format!("write {shown}"));
    }
    tell(format_args!(
        "Wrote {shown}. Read it, then: walhook setup --print-sql > walhook.sql"
    ));
    Ok(())
}

fn url_of_role(role: &str, given: &str, conninfo: &ConnInfo) -> Result<String, UsageError> {
    url::of_role(role, given, conninfo).map_err(UsageError)
}
