//! Would publishing a table make the application's own writes fail? PostgreSQL refuses UPDATE
//! and DELETE on a published table without a replica identity, and where a row filter, a
//! column list or an unpublished generated column leaves out part of it.

use super::catalog::{Column, Generated, Storage, Table, TableKind, sql_name};
use crate::mapping::TableName;
use crate::pgoutput::ReplicaIdentity;

/// A reason why a table must not be published as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Harm {
    /// The table, or the partition of it.
    pub table: TableName,
    pub why: String,
    /// SQL that fixes it; empty where none does.
    pub mend: Vec<String>,
}

/// PostgreSQL 18 refuses writes where FULL covers a column that is not published.
const GENERATED_COLUMNS_PUBLISHED: i32 = 180_000;

/// Everything that stands against publishing `table` on a server of this version
/// (`server_version_num`). Empty: it does no harm.
pub fn harms(table: &Table, server_version: i32) -> Vec<Harm> {
    let mut found: Vec<Harm> = unpublishable(&table.storage).into_iter().collect();
    if !found.is_empty() {
        return found;
    }
    for holder in table.holders() {
        if let Some(harm) = unpublishable(holder) {
            found.push(harm);
        } else if !holder.identifies_rows() {
            found.push(without_identity(holder));
        }
    }
    let is_virtual = |column: &&Column| column.generated == Generated::Virtual;
    let full = table
        .holders()
        .iter()
        .find(|holder| holder.replica_identity == ReplicaIdentity::Full);
    if let (true, Some(holder), Some(column)) = (
        server_version >= GENERATED_COLUMNS_PUBLISHED,
        full,
        table.columns.iter().find(is_virtual),
    ) {
        found.push(Harm {
            table: holder.name.clone(),
            why: format!(
                "its replica identity is FULL and its column `{}` is a virtual generated one, \
                 which cannot be published: every UPDATE and DELETE on the published table would fail",
                column.name
            ),
            // Without a primary key one has to be made first: which, its owner knows.
            mend: holder
                .primary_index
                .then(|| set_identity(holder, "default"))
                .into_iter()
                .collect(),
        });
    }
    found
}

/// Whether the publication must publish stored generated columns, as PostgreSQL 18
/// can, because a replica identity covers one.
pub fn needs_generated_columns(tables: &[Table], server_version: i32) -> bool {
    server_version >= GENERATED_COLUMNS_PUBLISHED
        && tables.iter().any(|table| {
            let stored = |column: &&Column| column.generated == Generated::Stored;
            table.columns.iter().filter(stored).any(|column| {
                let covers = |holder: &Storage| match holder.replica_identity {
                    ReplicaIdentity::Full => true,
                    _ => holder.identity_columns.contains(&column.name),
                };
                table.holders().iter().any(covers)
            })
        })
}

fn unpublishable(storage: &Storage) -> Option<Harm> {
    let (why, mend) = match storage.kind {
        TableKind::View => ("it is a view: name the table behind it", None),
        TableKind::MaterializedView => {
            ("it is a materialized view: name the table behind it", None)
        }
        TableKind::System => (
            "it is a table of PostgreSQL's own, which cannot be published",
            None,
        ),
        TableKind::Foreign => (
            "it is a foreign table: its rows are in another server's log",
            None,
        ),
        TableKind::Ordinary | TableKind::Partitioned if !storage.logged => (
            "it is unlogged or temporary: its rows are not in the WAL",
            Some(format!(
                "alter table {} set logged;",
                sql_name(&storage.name)
            )),
        ),
        TableKind::Ordinary | TableKind::Partitioned => return None,
    };
    Some(Harm {
        table: storage.name.clone(),
        why: why.to_owned(),
        mend: mend.into_iter().collect(),
    })
}

fn without_identity(storage: &Storage) -> Harm {
    let why = match storage.replica_identity {
        ReplicaIdentity::Default => {
            "it has no primary key (or a deferrable one) to identify rows by"
        }
        ReplicaIdentity::Nothing => "its replica identity is NOTHING",
        ReplicaIdentity::Index => "the index of its replica identity no longer exists",
        ReplicaIdentity::Full => "its replica identity is FULL",
    };
    let identity = if storage.primary_index {
        "default"
    } else {
        "full"
    };
    Harm {
        table: storage.name.clone(),
        why: format!(
            "{why}: once it is published, every UPDATE and DELETE of the application on it would fail"
        ),
        mend: vec![set_identity(storage, identity)],
    }
}

fn set_identity(storage: &Storage, identity: &str) -> String {
    format!(
        "alter table {} replica identity {identity};",
        sql_name(&storage.name)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::language::types::{Collation, Type};

    fn storage(identity: ReplicaIdentity, primary_index: bool) -> Storage {
        Storage {
            name: name("payments"),
            kind: TableKind::Ordinary,
            logged: true,
            replica_identity: identity,
            primary_index,
            identity_index: false,
            identity_columns: Vec::new(),
        }
    }

    fn name(table: &str) -> TableName {
        TableName {
            schema: "public".to_owned(),
            name: table.to_owned(),
        }
    }

    fn table(storage: Storage) -> Table {
        Table {
            oid: 1,
            storage,
            columns: Vec::new(),
            database: crate::mapping::Database::unasked(),
            primary_key: Vec::new(),
            leaves: Vec::new(),
            has_children: false,
            owner: "app".to_owned(),
            owned: true,
        }
    }

    #[test]
    fn a_table_whose_rows_the_log_cannot_identify_does_harm() {
        use ReplicaIdentity::{Default, Full, Index, Nothing};
        for (identity, primary_index, mend) in [
            (Default, true, None),
            (Full, false, None),
            (Default, false, Some("full")),
            (Nothing, true, Some("default")),
            (Nothing, false, Some("full")),
            (Index, true, Some("default")),
        ] {
            let harms = harms(&table(storage(identity, primary_index)), 150_000);
            let sql: Vec<String> = harms.into_iter().flat_map(|harm| harm.mend).collect();
            let expected: Vec<String> = mend
                .map(|to| format!("alter table \"public\".\"payments\" replica identity {to};"))
                .into_iter()
                .collect();
            assert_eq!(sql, expected, "{identity:?}, primary key: {primary_index}");
        }
    }

    #[test]
    fn every_partition_counts_and_the_root_does_not() {
        let mut root = storage(ReplicaIdentity::Default, false);
        root.kind = TableKind::Partitioned;
        let mut parent = table(root);
        assert!(harms(&parent, 150_000).is_empty(), "no partition, no row");
        let mut bad = storage(ReplicaIdentity::Nothing, false);
        bad.name = name("payments_2026");
        parent.leaves = vec![storage(ReplicaIdentity::Full, false), bad.clone()];
        let found = harms(&parent, 150_000);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].table, bad.name);
        assert_eq!(
            parent.description().replica_identity,
            ReplicaIdentity::Nothing
        );
    }

    #[test]
    fn full_over_generated_columns_does_harm_from_18_on() {
        let mut full = table(storage(ReplicaIdentity::Full, true));
        full.columns = vec![Column {
            name: "total".to_owned(),
            type_oid: 23,
            type_name: "integer".to_owned(),
            r#type: Type::Int4,
            collation: Collation::Default,
            own_operators: false,
            generated: Generated::Virtual,
        }];
        assert!(harms(&full, 170_000).is_empty());
        assert_eq!(harms(&full, 180_000).len(), 1);
        full.columns[0].generated = Generated::Stored;
        assert!(harms(&full, 180_000).is_empty());
        assert!(needs_generated_columns(
            std::slice::from_ref(&full),
            180_000
        ));
        assert!(!needs_generated_columns(&[full], 170_000));
    }

    #[test]
    fn what_is_not_in_the_log_cannot_be_watched() {
        let mut view = storage(ReplicaIdentity::Nothing, false);
        view.kind = TableKind::View;
        assert!(harms(&table(view), 150_000)[0].mend.is_empty());
        let mut unlogged = storage(ReplicaIdentity::Default, true);
        unlogged.logged = false;
        let found = harms(&table(unlogged), 150_000);
        assert_eq!(
            found[0].mend,
            ["alter table \"public\".\"payments\" set logged;"]
        );
    }
}
