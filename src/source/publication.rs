//! The publication: what it is, what it should be, and the statements between.
//! It is altered, never dropped: a slot cannot get past a change from a time without the
//! publication, even if it is created again later.

use anyhow::Context;
use tokio_postgres::Row;

use super::catalog::{self, Table, TableKind, sql_name};
use super::harm::{Harm, harms, needs_generated_columns};
use crate::conninfo::{Client, column};
use crate::db::quote_identifier;
use crate::mapping::TableName;
use crate::source::server::Server;

/// A publication as the catalog has it.
#[derive(Clone, Debug)]
pub struct Publication {
    pub all_tables: bool,
    pub all_operations: bool,
    pub via_root: bool,
    /// Stored generated columns are published (18 and later).
    pub generated_columns: bool,
    /// Whether the role that asks may alter it.
    pub owned: bool,
    pub tables: Vec<Published>,
    /// `FOR TABLES IN SCHEMA` (15 and later).
    pub schemas: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Published {
    pub name: TableName,
    pub row_filter: bool,
    pub column_list: bool,
}

/// How a publication differs from what the rules need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    AllTables,
    Schemas(Vec<String>),
    Missing(Vec<TableName>),
    Extra(Vec<TableName>),
    RowFilter(Vec<TableName>),
    ColumnList(Vec<TableName>),
    Operations,
    /// Some watched table is partitioned and its changes would come under the
    /// partitions' names.
    ViaRoot,
    GeneratedColumns,
}

impl Difference {
    /// Whether events would be lost or falsified, or the application harmed.
    pub fn is_failure(&self) -> bool {
        !matches!(self, Difference::Extra(_))
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = |tables: &[TableName]| {
            let names: Vec<String> = tables.iter().map(ToString::to_string).collect();
            names.join(", ")
        };
        match self {
            Difference::AllTables => f.write_str(
                "it is FOR ALL TABLES: an UPDATE on any table without a replica identity fails, \
                 also on tables that no rule watches",
            ),
            Difference::Schemas(schemas) => write!(
                f,
                "it publishes every table of the schema {}, also those that no rule watches",
                schemas.join(", ")
            ),
            Difference::Missing(tables) => write!(
                f,
                "it does not publish {}: changes of it never arrive",
                names(tables)
            ),
            Difference::Extra(tables) => {
                write!(f, "it publishes {}, which no rule watches", names(tables))
            }
            Difference::RowFilter(tables) => write!(
                f,
                "it filters the rows of {}: a row that enters or leaves the filter arrives as an \
                 insert or a delete that never happened",
                names(tables)
            ),
            Difference::ColumnList(tables) => write!(
                f,
                "it publishes only some columns of {}: rules do not see the rest, and an UPDATE \
                 fails where the list misses the replica identity",
                names(tables)
            ),
            Difference::Operations => {
                f.write_str("it does not publish all of insert, update, delete and truncate")
            }
            Difference::ViaRoot => f.write_str(
                "it publishes a partitioned table's changes under the partitions' names, \
                 which no rule watches",
            ),
            Difference::GeneratedColumns => f.write_str(
                "it leaves out stored generated columns that a replica identity covers: \
                 every UPDATE and DELETE on such a table fails (42P10)",
            ),
        }
    }
}

/// The publication of that name, if there is one.
pub async fn inspect(
    client: &Client,
    name: &str,
    server_version: i32,
) -> anyhow::Result<Option<Publication>> {
    let reading = || format!("read the publication `{name}` from the source's catalog");
    let row = client
        .query_opt(
            include_str!("../../sql/queries/source/publication.sql"),
            &[&name],
        )
        .await
        .with_context(reading)?;
    let Some(row) = row else { return Ok(None) };
    let tables = client
        .query(
            include_str!("../../sql/queries/source/publication_tables.sql"),
            &[&name],
        )
        .await
        .with_context(reading)?;
    // Schemas in publications came with 15, and their catalog with them.
    let schemas = if server_version >= 150_000 {
        client
            .query(
                include_str!("../../sql/queries/source/publication_schemas.sql"),
                &[&name],
            )
            .await
            .with_context(reading)?
    } else {
        Vec::new()
    };
    Ok(Some(Publication {
        all_tables: column(&row, "all_tables")?,
        all_operations: column(&row, "all_operations")?,
        via_root: column(&row, "via_root")?,
        generated_columns: column(&row, "generated_columns")?,
        owned: column(&row, "owned")?,
        tables: tables
            .iter()
            .map(published)
            .collect::<anyhow::Result<_>>()?,
        schemas: (schemas.iter().map(|row| column(row, 0))).collect::<anyhow::Result<_>>()?,
    }))
}

fn published(row: &Row) -> anyhow::Result<Published> {
    Ok(Published {
        name: TableName {
            schema: column(row, "schema")?,
            name: column(row, "name")?,
        },
        row_filter: column(row, "row_filter")?,
        column_list: column(row, "column_list")?,
    })
}

/// What the publication of that name does to the application at this moment: a table
/// may lose its key, and a partition be attached, long after it was found harmless.
pub async fn present_harms(client: &Client, name: &str) -> anyhow::Result<Vec<Harm>> {
    let version = Server::read(client).await?.version_number;
    let Some(publication) = inspect(client, name, version).await? else {
        return Ok(Vec::new());
    };
    let names: Vec<TableName> = publication
        .tables
        .iter()
        .map(|table| table.name.clone())
        .collect();
    let tables = catalog::describe(client, &names).await?;
    let mut found: Vec<Harm> = tables
        .iter()
        .flat_map(|table| harms(table, version))
        .collect();
    for table in &tables {
        let alone = std::slice::from_ref(table);
        if !publication.generated_columns && needs_generated_columns(alone, version) {
            found.push(Harm {
                table: table.name().clone(),
                why: format!("the publication: {}", Difference::GeneratedColumns),
                mend: alter_statements(name, alone, &[], &[Difference::GeneratedColumns]),
            });
        }
    }
    Ok(found)
}

impl Publication {
    /// What keeps this publication from carrying exactly `wanted`, whole.
    pub fn differences(&self, wanted: &[Table], server_version: i32) -> Vec<Difference> {
        let mut found = Vec::new();
        if self.all_tables {
            found.push(Difference::AllTables);
        }
        if !self.schemas.is_empty() {
            found.push(Difference::Schemas(self.schemas.clone()));
        }
        let named = |keep: &dyn Fn(&Published) -> bool| -> Vec<TableName> {
            let kept = self.tables.iter().filter(|table| keep(table));
            kept.map(|table| table.name.clone()).collect()
        };
        let missing = wanted
            .iter()
            .map(Table::name)
            .filter(|name| !self.carries(name))
            .cloned()
            .collect();
        let tables = [
            (
                Difference::Missing as fn(Vec<TableName>) -> Difference,
                missing,
            ),
            (Difference::Extra, self.others(wanted)),
            (Difference::RowFilter, named(&|table| table.row_filter)),
            (Difference::ColumnList, named(&|table| table.column_list)),
        ];
        for (difference, tables) in tables {
            if !tables.is_empty() {
                found.push(difference(tables));
            }
        }
        if !self.all_operations {
            found.push(Difference::Operations);
        }
        let partitioned = |table: &Table| table.storage.kind == TableKind::Partitioned;
        if !self.via_root && wanted.iter().any(partitioned) {
            found.push(Difference::ViaRoot);
        }
        if !self.generated_columns && needs_generated_columns(wanted, server_version) {
            found.push(Difference::GeneratedColumns);
        }
        found
    }

    /// The statements that make it carry `wanted` too, and take nothing out of it.
    pub fn growth(&self, name: &str, wanted: &[Table], server_version: i32) -> Vec<String> {
        let mut statements = Vec::new();
        for difference in self.differences(wanted, server_version) {
            match difference {
                Difference::Missing(tables) => statements.push(format!(
                    "alter publication {} add table {};",
                    quote_identifier(name),
                    table_list(&tables)
                )),
                Difference::ViaRoot | Difference::GeneratedColumns => {
                    statements.extend(alter_statements(name, wanted, &[], &[difference]));
                }
                // As at start: `walhook check` speaks of these.
                Difference::AllTables
                | Difference::Schemas(_)
                | Difference::Extra(_)
                | Difference::RowFilter(_)
                | Difference::ColumnList(_)
                | Difference::Operations => {}
            }
        }
        statements
    }

    /// The tables of the list that are not wanted.
    pub fn others(&self, wanted: &[Table]) -> Vec<TableName> {
        let is_wanted = |name: &TableName| wanted.iter().any(|table| table.name() == name);
        let names = self.tables.iter().map(|table| &table.name);
        names.filter(|name| !is_wanted(name)).cloned().collect()
    }

    fn carries(&self, name: &TableName) -> bool {
        self.all_tables
            || self.schemas.contains(&name.schema)
            || self.tables.iter().any(|table| table.name == *name)
    }
}

/// The statement that creates the publication. `generated_columns`: as
/// [`needs_generated_columns`] says.
pub fn create_statement<'a>(
    name: &str,
    wanted: impl IntoIterator<Item = &'a TableName>,
    generated_columns: bool,
) -> String {
    let generated = match generated_columns {
        true => ", publish_generated_columns = stored",
        false => "",
    };
    format!(
        "create publication {} for table {} with (publish = '{OPERATIONS}', \
         publish_via_partition_root = true{generated});",
        quote_identifier(name),
        table_list(wanted)
    )
}

/// The statements that end the differences; none for a publication FOR ALL TABLES,
/// which PostgreSQL does not let become an explicit list. `others`, which are published and
/// not wanted, stay published: only [`removal`] takes tables out.
pub fn alter_statements(
    name: &str,
    wanted: &[Table],
    others: &[TableName],
    differences: &[Difference],
) -> Vec<String> {
    let publication = quote_identifier(name);
    let all = table_list(wanted.iter().map(Table::name).chain(others));
    let states_all = |difference: &Difference| {
        matches!(
            difference,
            Difference::Schemas(_) | Difference::RowFilter(_) | Difference::ColumnList(_)
        )
    };
    let is_stated = differences.iter().any(states_all);
    let mut statements: Vec<String> = Vec::new();
    let mut add = |statement: String| {
        if !statements.contains(&statement) {
            statements.push(statement);
        }
    };
    for difference in differences {
        match difference {
            Difference::AllTables => return Vec::new(),
            // One statement states the whole list, and clears filters.
            Difference::Schemas(_) | Difference::RowFilter(_) | Difference::ColumnList(_) => {
                add(format!("alter publication {publication} set table {all};"));
            }
            Difference::Missing(_) if is_stated => {}
            Difference::Missing(tables) => add(format!(
                "alter publication {publication} add table {};",
                table_list(tables)
            )),
            Difference::Extra(_) => {}
            Difference::Operations => add(format!(
                "alter publication {publication} set (publish = '{OPERATIONS}');"
            )),
            Difference::ViaRoot => add(format!(
                "alter publication {publication} set (publish_via_partition_root = true);"
            )),
            Difference::GeneratedColumns => add(format!(
                "alter publication {publication} set (publish_generated_columns = stored);"
            )),
        }
    }
    statements
}

/// The statement that takes tables out of the publication.
pub fn removal(name: &str, tables: &[TableName]) -> String {
    format!(
        "alter publication {} drop table {};",
        quote_identifier(name),
        table_list(tables)
    )
}

const OPERATIONS: &str = "insert, update, delete, truncate";

/// ONLY, because without it the tables that inherit from an ordinary one would be
/// published too, unchecked. A partitioned table includes its partitions anyway.
fn table_list<'a>(wanted: impl IntoIterator<Item = &'a TableName>) -> String {
    let tables: Vec<String> = wanted
        .into_iter()
        .map(|table| format!("only {}", sql_name(table)))
        .collect();
    tables.join(", ")
}
