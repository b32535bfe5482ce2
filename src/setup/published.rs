//! The publication of the tables that rules watch.

use anyhow::{Context, bail};

use super::slot::SlotSetup;
use super::{Done, SetupReport};
use crate::mapping::TableName;
use crate::source::catalog::Table;
use crate::source::publication::Difference;
use crate::source::{harm, publication};

impl SlotSetup<'_> {
    pub(super) async fn make_publication(&self, report: &mut SetupReport) -> anyhow::Result<Done> {
        let name = &self.config.source.publication;
        let tables = &self.source.tables;
        let version = self.source.server.version_number;
        let statements = match &self.source.publication {
            None => {
                let generated = harm::needs_generated_columns(tables, version);
                let names = tables.iter().map(Table::name);
                vec![publication::create_statement(name, names, generated)]
            }
            Some(publication) => {
                let differences = publication.differences(tables, version);
                if differences.contains(&Difference::AllTables) {
                    bail!(
                        "the publication `{name}` is FOR ALL TABLES, which cannot become a list of tables: set \
                         source.publication to another name, then run `walhook setup --accept-gap`"
                    );
                }
                let whole_schemas = differences
                    .iter()
                    .find(|difference| matches!(difference, Difference::Schemas(_)));
                if let Some(difference) = whole_schemas.filter(|_| !self.remove_tables) {
                    bail!(
                        "the publication `{name}`: {difference}; `walhook setup --remove-tables` makes it the list \
                         of the tables that rules watch"
                    );
                }
                let others = publication.others(tables);
                let mut statements =
                    publication::alter_statements(name, tables, &others, &differences);
                if !others.is_empty() {
                    statements.extend(self.remove(&others, report).await?);
                }
                statements
            }
        };
        let done = match (&self.source.publication, statements.is_empty()) {
            (None, _) => Done::Made,
            (Some(_), true) => Done::Kept,
            (Some(_), false) => Done::Changed,
        };
        if !statements.is_empty() {
            // One transaction, so that no change meets a publication half altered.
            let statements = statements.join(" ");
            self.writable.batch_execute(&statements).await.with_context(|| {
                format!(
                    "make the publication `{name}` (a superuser runs this, or the publication's owner who also owns the tables; then run \
                     setup again): {statements}"
                )
            })?;
            // The slot must not begin before its publication.
            self.await_replay().await?;
        }
        let count = tables.len();
        report.add(
            done,
            format!("the publication `{name}` of {count} table(s)"),
        );
        Ok(done)
    }

    /// The statement that takes tables out of the publication that no rule of this
    /// configuration watches, if that is asked for; otherwise they are named.
    async fn remove(
        &self,
        others: &[TableName],
        report: &mut SetupReport,
    ) -> anyhow::Result<Option<String>> {
        let name = &self.config.source.publication;
        let names: Vec<String> = others.iter().map(TableName::to_string).collect();
        let names = names.join(", ");
        if !self.remove_tables {
            report.add(
                Done::Kept,
                format!(
                    "{names} in the publication `{name}`, which no rule of this configuration watches: \
                     `walhook setup --remove-tables` takes it out"
                ),
            );
            return Ok(None);
        }
        let watched = include_str!("../../sql/queries/setup/find_watched_by_running.sql");
        let all: Vec<String> = others.iter().map(TableName::to_string).collect();
        let row = self
            .store
            .query_opt(watched, &[&self.config.source.slot, &all])
            .await
            .context("look which tables running instances watch")?;
        if let Some(row) = row {
            let (table, host): (String, String) = (row.get("table_name"), row.get("hostname"));
            bail!(
                "{table} stays in the publication `{name}`: the instance that runs on `{host}` watches it, and \
                 would miss its changes; take its rules out there first (SIGHUP makes it read them), or stop it"
            );
        }
        report.add(
            Done::Changed,
            format!("{names} taken out of the publication `{name}`"),
        );
        Ok(Some(publication::removal(name, others)))
    }
}
