//! Changes of the shadow's rows on their way into the store: they are written in the
//! transaction of the group that made them.

use std::collections::HashMap;

use anyhow::Context;
use bytes::Bytes;
use tokio_postgres::Statement;

use crate::conninfo::Client;

/// What one group made of the rows, each row once.
#[derive(Default)]
pub(crate) struct Changes {
    /// How many were taken before, and this.
    pub(crate) number: u64,
    pub(crate) rows: Vec<ChangedRow>,
}

pub(crate) struct ChangedRow {
    pub(crate) shadow_id: i32,
    pub(crate) key: Vec<u8>,
    /// `None`: there is no such row any more.
    pub(crate) values: Option<Bytes>,
    /// The store has a row of this key when what was taken before is written.
    pub(crate) stored: bool,
}

/// Prepared on the connection that writes.
pub(crate) struct RowStatements {
    update: Statement,
    upsert: Statement,
    delete: Statement,
}

/// Rows to be written: the tables' ids, keys and values.
type Columns<'a> = (Vec<i32>, Vec<&'a [u8]>, Vec<&'a [u8]>);

impl Changes {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        let values = |row: &ChangedRow| row.values.as_ref().map_or(0, Bytes::len);
        self.rows
            .iter()
            .map(|row| row.key.len() + values(row))
            .sum()
    }
}

impl RowStatements {
    pub(crate) async fn prepare(client: &Client) -> anyhow::Result<Self> {
        let prepare = async |sql: &'static str| {
            let prepared = client.prepare(sql).await;
            prepared.context("prepare the writing of the shadow")
        };
        Ok(RowStatements {
            update: prepare(include_str!(
                "../../sql/queries/handoff/shadow_rows_update.sql"
            ))
            .await?,
            upsert: prepare(include_str!(
                "../../sql/queries/handoff/shadow_rows_upsert.sql"
            ))
            .await?,
            delete: prepare(include_str!(
                "../../sql/queries/handoff/shadow_rows_delete.sql"
            ))
            .await?,
        })
    }

    /// Writes these, one after the other as it were, in the transaction that is open on
    /// the client.
    pub(crate) async fn write(
        &self,
        client: &Client,
        changes: impl Iterator<Item = &Changes>,
    ) -> anyhow::Result<()> {
        let (mut inserts, mut updates, mut deletes): (Columns<'_>, Columns<'_>, Columns<'_>) =
            Default::default();
        for row in last_of_each(changes) {
            let (ids, keys, values) = match (row.values, row.stored) {
                (Some(_), true) => &mut updates,
                (Some(_), false) => &mut inserts,
                (None, true) => &mut deletes,
                // It came and went.
                (None, false) => continue,
            };
            ids.push(row.shadow_id);
            keys.push(row.key);
            values.extend(row.values);
        }
        let written = async {
            let (deleted, updated, inserted) = tokio::join!(
                self.delete(client, &deletes),
                execute(client, &self.update, &updates),
                execute(client, &self.upsert, &inserts),
            );
            deleted?;
            inserted?;
            if updated? < updates.0.len() as u64 {
                // Somebody else has deleted them.
                execute(client, &self.upsert, &updates).await?;
            }
            Ok::<_, tokio_postgres::Error>(())
        };
        written.await.context("write the shadow of old values")
    }

    async fn delete(
        &self,
        client: &Client,
        (ids, keys, _): &Columns<'_>,
    ) -> Result<u64, tokio_postgres::Error> {
        match ids.is_empty() {
            true => Ok(0),
            false => client.execute(&self.delete, &[ids, keys]).await,
        }
    }
}

async fn execute(
    client: &Client,
    statement: &Statement,
    (ids, keys, values): &Columns<'_>,
) -> Result<u64, tokio_postgres::Error> {
    match ids.is_empty() {
        true => Ok(0),
        false => {
            let values = [ids as _, keys as _, values as _];
            client.execute(statement, &values).await
        }
    }
}

struct Last<'a> {
    shadow_id: i32,
    key: &'a [u8],
    values: Option<&'a [u8]>,
    stored: bool,
}

/// Each row as the last change left it, and whether the store had it before the first.
fn last_of_each<'a>(changes: impl Iterator<Item = &'a Changes>) -> Vec<Last<'a>> {
    let mut rows: Vec<Last<'a>> = Vec::new();
    let mut places = HashMap::new();
    for (nth, changes) in changes.enumerate() {
        for row in &changes.rows {
            let (key, values) = (row.key.as_slice(), row.values.as_deref());
            let place = *places.entry((row.shadow_id, key)).or_insert(rows.len());
            match rows.get_mut(place) {
                Some(known) if nth > 0 => known.values = values,
                _ => rows.push(Last {
                    shadow_id: row.shadow_id,
                    key,
                    values,
                    stored: row.stored,
                }),
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(rows: &[(&str, Option<&'static str>, bool)]) -> Changes {
        let row = |(key, values, stored): &(&str, Option<&'static str>, bool)| ChangedRow {
            shadow_id: 1,
            key: key.as_bytes().to_vec(),
            values: values.map(|values| Bytes::from_static(values.as_bytes())),
            stored: *stored,
        };
        Changes {
            number: 1,
            rows: rows.iter().map(row).collect(),
        }
    }

    #[test]
    fn of_several_changes_of_a_row_the_last_is_written_over_what_was_there_before_the_first() {
        let groups = [
            changes(&[
                ("a", Some("1"), false),
                ("b", None, true),
                ("c", Some("3"), true),
            ]),
            changes(&[("a", Some("2"), true), ("d", Some("4"), false)]),
            changes(&[
                ("a", None, true),
                ("b", Some("5"), false),
                ("d", Some("6"), true),
            ]),
        ];
        let last: Vec<_> = last_of_each(groups.iter())
            .iter()
            .map(|row| (row.key.to_vec(), row.values.map(<[u8]>::to_vec), row.stored))
            .collect();
        let expected = [
            ("a", None, false),
            ("b", Some("5"), true),
            ("c", Some("3"), true),
            ("d", Some("6"), false),
        ];
        let expected: Vec<_> = expected
            .iter()
            .map(|(key, values, stored)| {
                let values = values.map(|values: &str| values.as_bytes().to_vec());
                (key.as_bytes().to_vec(), values, *stored)
            })
            .collect();
        assert_eq!(last, expected);
    }
}
