//! Reading definitions from the source's catalog.

use std::collections::{BTreeMap, HashMap};

use anyhow::Context;

use super::{ColumnDefinition, Label, Member, Published, TableDefinition};
use crate::capture::watermark::Snapshot;
use crate::conninfo::{Client, ConnInfo, Purpose, Transaction, column};

/// The catalog that tables are defined in.
#[derive(Clone, Debug)]
pub struct SourceCatalog {
    pub source: ConnInfo,
    pub publication: String,
    pub slot: String,
}

/// Tables as one snapshot of the catalog has them.
#[derive(Clone, Debug)]
pub struct Definitions {
    /// By the tables' oids.
    pub tables: HashMap<u32, TableDefinition>,
    pub snapshot: Snapshot,
}

impl SourceCatalog {
    pub(in crate::capture) async fn read(&self, tables: &[u32]) -> anyhow::Result<Definitions> {
        let mut client = self.source.connect(Purpose::Reload, None).await?;
        self.read_with(&mut client, tables).await
    }

    /// In one snapshot: that a column's row in `pg_attribute` is new and that its table's file
    /// is belong together.
    pub async fn read_with(
        &self,
        client: &mut Client,
        tables: &[u32],
    ) -> anyhow::Result<Definitions> {
        let catalog = client
            .snapshot()
            .await
            .context("begin to read the catalog")?;
        let read = self.read_in(&catalog, tables).await;
        let ended = catalog.rollback().await;
        let read = read.context("read from the source's catalog how tables are defined")?;
        ended.context("end the reading of the catalog")?;
        Ok(read)
    }

    async fn read_in(
        &self,
        catalog: &Transaction<'_>,
        tables: &[u32],
    ) -> anyhow::Result<Definitions> {
        let snapshot = Snapshot::read(catalog).await?;
        let mut definitions: HashMap<u32, TableDefinition> = HashMap::new();
        let query = include_str!("../../../../sql/queries/capture/shadow/definition_columns.sql");
        for row in catalog.query(query, &[&tables, &self.slot]).await? {
            let table = definitions.entry(column(&row, "attrelid")?).or_default();
            let is_recent = column(&row, "is_recent")?;
            let definition = ColumnDefinition {
                type_oid: column(&row, "type_oid")?,
                attnum: column(&row, "attnum")?,
                version: column(&row, "version")?,
                attributes: column(&row, "attributes")?,
                is_enum: column(&row, "is_enum")?,
                labels: labels(&row)?,
                is_recent,
            };
            table.columns.insert(column(&row, "name")?, definition);
        }
        let query = include_str!("../../../../sql/queries/capture/shadow/definition_tables.sql");
        for row in catalog.query(query, &[&tables]).await? {
            let table = definitions.entry(column(&row, "root")?).or_default();
            let member = Member {
                file: column(&row, "file")?,
                attached: column(&row, "attached")?,
                bound: column(&row, "bound")?,
            };
            table.members.insert(column(&row, "member")?, member);
        }
        let query =
            include_str!("../../../../sql/queries/capture/shadow/definition_publication.sql");
        for row in catalog.query(query, &[&self.publication, &tables]).await? {
            let table = definitions.entry(column(&row, "table_oid")?).or_default();
            table.publication = Some(Published {
                publication: column(&row, "publication")?,
                version: column(&row, "version")?,
                member: column(&row, "member")?,
            });
        }
        Ok(Definitions {
            tables: definitions,
            snapshot,
        })
    }
}

fn labels(row: &tokio_postgres::Row) -> anyhow::Result<BTreeMap<u32, Label>> {
    let oids: Vec<u32> = column(row, "label_oids")?;
    let texts: Vec<String> = column(row, "labels")?;
    let versions: Vec<i64> = column(row, "label_versions")?;
    let label = |((oid, text), version)| (oid, Label { text, version });
    Ok(oids
        .into_iter()
        .zip(texts)
        .zip(versions)
        .map(label)
        .collect())
}
