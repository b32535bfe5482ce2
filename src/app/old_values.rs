//! Where the old values that rules need come from, as the source's catalog has it.

use crate::capture::{LoggedTable, OldValueTables, ShadowedTable, SourceCatalog, TableDefinition};
use crate::conninfo::Client;
use crate::lsn::Lsn;
use crate::mapping::RuleSet;
use crate::source::catalog::{Table, TableKind};

/// Adds how the tables are defined.
pub async fn define(
    tables: OldValueTables,
    catalog: &SourceCatalog,
    client: &mut Client,
) -> anyhow::Result<OldValueTables> {
    let oids = tables.shadowed_oids();
    let definitions = catalog.read_with(client, &oids).await?;
    Ok(tables.defined(definitions))
}

/// `as_of` is where the WAL ended before the tables were described.
pub fn sources(rules: &RuleSet, tables: &[Table], as_of: Lsn) -> OldValueTables {
    let mut sources = OldValueTables {
        as_of,
        ..OldValueTables::default()
    };
    for table in tables {
        let description = table.description();
        let partitioned = table.storage.kind == TableKind::Partitioned;
        if let Some(watch) = rules.watch(&description) {
            sources.shadowed.push(ShadowedTable {
                oid: table.oid,
                partitioned,
                watch,
                definition: TableDefinition::default(),
            });
        }
        let logged = rules.logged(&description);
        if !logged.is_empty() {
            sources.logged.push(LoggedTable {
                oid: table.oid,
                table: table.name().clone(),
                partitioned,
                rules: logged,
            });
        }
    }
    sources
}
