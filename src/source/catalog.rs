//! What the source's catalog says of the tables that rules watch.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use tokio_postgres::Row;

use crate::backfill::table as readable;
use crate::conninfo::{Client, column};
use crate::db::quote_identifier;
use crate::mapping::language::letters::Letters;
use crate::mapping::language::types::{Collation, Encoding, EnumType, Type};
use crate::mapping::{ColumnDescription, Database, TableDescription, TableName};
use crate::pgoutput::ReplicaIdentity;
use crate::pgoutput::value::built_in_name;

/// A table's name for SQL, always quoted: a schema may be called `user`.
pub fn sql_name(name: &TableName) -> String {
    format!(
        "{}.{}",
        quote_identifier(&name.schema),
        quote_identifier(&name.name)
    )
}

/// A watched table that exists.
#[derive(Clone, Debug)]
pub struct Table {
    pub oid: u32,
    pub storage: Storage,
    pub columns: Vec<Column>,
    /// Of the database that it is in.
    pub database: Arc<Database>,
    /// In the key's order; empty where there is none.
    pub primary_key: Vec<String>,
    /// The leaf partitions, where the table is partitioned: rows live in them.
    pub leaves: Vec<Storage>,
    /// Ordinary tables inherit from it; they hold rows of their own.
    pub has_children: bool,
    pub owner: String,
    /// Whether the role that asks has the owner's rights: a publication needs them.
    pub owned: bool,
}

/// What the WAL's content of a table depends on; a partition has its own.
#[derive(Clone, Debug)]
pub struct Storage {
    pub name: TableName,
    pub kind: TableKind,
    /// Neither unlogged nor temporary: only such a table's rows are in the WAL.
    pub logged: bool,
    pub replica_identity: ReplicaIdentity,
    /// Whether there is a primary key that serves the identity `default`: a
    /// deferrable one does not.
    pub primary_index: bool,
    /// Whether there is the index that the identity `index` names.
    pub identity_index: bool,
    /// The columns of the key or index that the identity names.
    pub identity_columns: Vec<String>,
}

impl Storage {
    /// Whether the WAL can say which row an UPDATE or DELETE met. Where it cannot,
    /// PostgreSQL refuses both on a published table.
    pub fn identifies_rows(&self) -> bool {
        match self.replica_identity {
            ReplicaIdentity::Full => true,
            ReplicaIdentity::Default => self.primary_index,
            ReplicaIdentity::Index => self.identity_index,
            ReplicaIdentity::Nothing => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    Ordinary,
    Partitioned,
    View,
    MaterializedView,
    Foreign,
    /// Of PostgreSQL's own catalog or of information_schema.
    System,
}

#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    pub type_oid: u32,
    pub type_name: String,
    pub r#type: Type,
    pub collation: Collation,
    /// Its type is compared by operators that are not in `pg_catalog`, as `citext` is.
    pub own_operators: bool,
    pub generated: Generated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generated {
    No,
    Stored,
    /// Computed when it is read (18 and later): it is never in the WAL.
    Virtual,
}

impl Table {
    pub fn name(&self) -> &TableName {
        &self.storage.name
    }

    /// What holds the rows: the table itself, or its leaf partitions.
    pub fn holders(&self) -> &[Storage] {
        match self.storage.kind {
            TableKind::Partitioned => &self.leaves,
            _ => std::slice::from_ref(&self.storage),
        }
    }

    /// The table as the rules see it. A rule that needs old values needs them of every
    /// partition, and so the weakest identity counts; then that of the root, by which the
    /// log describes the rows of all.
    pub fn description(&self) -> TableDescription {
        let is_full = |storage: &Storage| storage.replica_identity == ReplicaIdentity::Full;
        let root = Some(&self.storage);
        let weakest = self
            .holders()
            .iter()
            .find(|holder| !is_full(holder))
            .or(root.filter(|root| !is_full(root) && !root.identity_columns.is_empty()))
            // Without partitions there is nothing yet that could be weaker.
            .or(self.holders().first())
            .unwrap_or(&self.storage);
        TableDescription {
            schema: self.name().schema.clone(),
            name: self.name().name.clone(),
            columns: self
                .columns
                .iter()
                .map(|column| ColumnDescription {
                    name: column.name.clone(),
                    type_oid: column.type_oid,
                    type_name: column.type_name.clone(),
                    r#type: column.r#type.clone(),
                    collation: column.collation.clone(),
                    generated: column.generated != Generated::No,
                })
                .collect(),
            primary_key: self.primary_key.clone(),
            replica_identity: weakest.replica_identity,
            identity: weakest.identity_columns.clone(),
            database: Arc::clone(&self.database),
        }
    }
}

/// The table as a backfill reads it.
pub fn readable(table: &Table) -> Result<readable::Table, readable::NoKey> {
    let partitioned = table.storage.kind == TableKind::Partitioned;
    readable::Table::of(&table.description(), table.oid, partitioned)
}

/// Reads the named tables, in their order. Those that do not exist are left out.
pub async fn describe(client: &Client, names: &[TableName]) -> anyhow::Result<Vec<Table>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let schemas: Vec<&str> = names.iter().map(|name| name.schema.as_str()).collect();
    let tables: Vec<&str> = names.iter().map(|name| name.name.as_str()).collect();
    let rows = client
        .query(
            include_str!("../../sql/queries/source/describe_tables.sql"),
            &[&schemas, &tables],
        )
        .await
        .context("read the watched tables from the source's catalog")?;
    let database = database(client).await?;
    let described = rows.iter().map(|row| table(row, &database));
    let mut described: Vec<Table> = described.collect::<anyhow::Result<_>>()?;
    fill_columns(client, &mut described).await?;
    fill_leaves(client, &mut described).await?;
    Ok(described)
}

/// The database's encoding and letters. Asked for once, as long as they stay the same: the
/// letters take the server some 60 ms.
async fn database(client: &Client) -> anyhow::Result<Arc<Database>> {
    static KNOWN: Mutex<Option<(String, Arc<Database>)>> = Mutex::new(None);
    let query = include_str!("../../sql/queries/source/describe_database.sql");
    let row = client.query_one(query, &[]).await;
    let row = row.context("read the database's encoding")?;
    let identity: String = column(&row, "identity")?;
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some((of, database)) = known
        && of == identity
    {
        return Ok(database);
    }
    let (encoding, last) = match column(&row, "encoding")? {
        "UTF8" => (Encoding::Utf8, 0x1_ffff),
        "LATIN1" => (Encoding::Latin1, 0xff),
        "SQL_ASCII" => (Encoding::SqlAscii, 0),
        _ => (Encoding::Other, 0),
    };
    let letters = match last {
        0 => Letters::ascii(),
        last => letters(client, last).await?,
    };
    let mut database = Database { encoding, letters };
    if column::<&str, _>(&row, "provider")? == "i" {
        // ICU writes it in another way at the end of a word.
        database.letters.unclear('Σ');
    }
    let database = Arc::new(database);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    *known = Some((identity, Arc::clone(&database)));
    Ok(database)
}

async fn letters(client: &Client, last: i32) -> anyhow::Result<Letters> {
    let query = include_str!("../../sql/queries/source/list_letters.sql");
    let rows = client.query(query, &[&last]).await;
    let rows = rows.context("read the database's upper and lower case")?;
    let mut letters = Vec::with_capacity(rows.len());
    for row in &rows {
        let code = u32::try_from(column::<i32, _>(row, "code")?).unwrap_or_default();
        let (lower, upper) = (column(row, "lower")?, column(row, "upper")?);
        letters.extend(char::from_u32(code).map(|character| (character, lower, upper)));
    }
    Ok(Letters::of(letters))
}

/// The type as the stream describes it: of a domain, the type beneath only where that is
/// built in, because Type messages name it without its oid.
fn streamed_oid(declared: u32, base: u32) -> u32 {
    match built_in_name(base) {
        Some(_) => base,
        None => declared,
    }
}

/// The type as expressions see it.
fn type_of(row: &Row) -> anyhow::Result<Type> {
    let labels: Vec<String> = column(row, "labels")?;
    let element: u32 = column(row, "element_oid")?;
    let one = |oid: u32, name: &str| match labels.is_empty() {
        true => Type::of_oid(oid, name),
        false => Type::Enum(Arc::new(EnumType {
            name: name.to_owned(),
            labels: labels.clone(),
        })),
    };
    let base = one(column(row, "base_oid")?, column(row, "base_name")?);
    Ok(match (element, base) {
        (0, base) => base,
        // What is an array of elements that are carried only is one itself.
        (oid, base) => match one(oid, column(row, "element_name")?) {
            Type::Opaque(_) | Type::Array(_) => base,
            element => Type::Array(Box::new(element)),
        },
    })
}

fn collation_of(row: &Row) -> anyhow::Result<Collation> {
    let name: Option<String> = column(row, "collation")?;
    let deterministic: bool = column(row, "deterministic")?;
    Ok(match name {
        None => Collation::Default,
        Some(name) if matches!(name.as_str(), "C" | "POSIX") => Collation::Bytes(name),
        Some(name) if deterministic => Collation::Other(name),
        Some(name) => Collation::Nondeterministic(name),
    })
}

fn table(row: &Row, database: &Arc<Database>) -> anyhow::Result<Table> {
    Ok(Table {
        oid: column(row, "oid")?,
        storage: storage(row)?,
        columns: Vec::new(),
        database: Arc::clone(database),
        primary_key: column(row, "primary_key")?,
        leaves: Vec::new(),
        has_children: column(row, "has_children")?,
        owner: column(row, "owner")?,
        owned: column(row, "owned")?,
    })
}

/// The names of the tables that a rule could watch.
pub async fn list(client: &Client) -> anyhow::Result<Vec<String>> {
    let rows = client
        .query(
            include_str!("../../sql/queries/source/list_tables.sql"),
            &[],
        )
        .await
        .context("list the source's tables")?;
    rows.iter().map(|row| column(row, 0)).collect()
}

async fn fill_columns(client: &Client, tables: &mut [Table]) -> anyhow::Result<()> {
    let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
    let query = include_str!("../../sql/queries/source/describe_columns.sql");
    let rows = client.query(query, &[&oids]).await;
    let rows = rows.context("read the watched tables' columns")?;
    for row in &rows {
        let oid: u32 = column(row, "attrelid")?;
        let described = Column {
            name: column(row, "name")?,
            type_oid: streamed_oid(column(row, "declared_oid")?, column(row, "base_oid")?),
            type_name: column(row, "type_name")?,
            r#type: type_of(row)?,
            collation: collation_of(row)?,
            own_operators: column(row, "own_operators")?,
            generated: match column(row, "generated")? {
                "" => Generated::No,
                "v" => Generated::Virtual,
                _ => Generated::Stored,
            },
        };
        let table = tables.iter_mut().find(|table| table.oid == oid);
        table
            .with_context(|| format!("pg_attribute has a column of another table: {oid}"))?
            .columns
            .push(described);
    }
    Ok(())
}

async fn fill_leaves(client: &Client, tables: &mut [Table]) -> anyhow::Result<()> {
    let oids: Vec<u32> = tables
        .iter()
        .filter(|table| table.storage.kind == TableKind::Partitioned)
        .map(|table| table.oid)
        .collect();
    if oids.is_empty() {
        return Ok(());
    }
    let query = include_str!("../../sql/queries/source/describe_leaves.sql");
    let rows = client.query(query, &[&oids]).await;
    let rows = rows.context("read the watched tables' partitions")?;
    for row in &rows {
        let oid: u32 = column(row, "root")?;
        let table = tables.iter_mut().find(|table| table.oid == oid);
        table
            .with_context(|| format!("pg_partition_tree has a partition of another table: {oid}"))?
            .leaves
            .push(storage(row)?);
    }
    Ok(())
}

fn storage(row: &Row) -> anyhow::Result<Storage> {
    let name = TableName {
        schema: column(row, "schema")?,
        name: column(row, "name")?,
    };
    Ok(Storage {
        kind: match column(row, "kind")? {
            "r" => TableKind::Ordinary,
            "p" => TableKind::Partitioned,
            "v" => TableKind::View,
            "m" => TableKind::MaterializedView,
            "f" => TableKind::Foreign,
            "s" => TableKind::System,
            other => anyhow::bail!("pg_class says that {name} is of the unknown kind `{other}`"),
        },
        logged: column::<&str, _>(row, "persistence")? == "p",
        replica_identity: match column(row, "replica_identity")? {
            "d" => ReplicaIdentity::Default,
            "n" => ReplicaIdentity::Nothing,
            "f" => ReplicaIdentity::Full,
            "i" => ReplicaIdentity::Index,
            other => anyhow::bail!("pg_class gives {name} the unknown replica identity `{other}`"),
        },
        primary_index: column(row, "primary_index")?,
        identity_index: column(row, "identity_index")?,
        identity_columns: column(row, "identity_columns")?,
        name,
    })
}
