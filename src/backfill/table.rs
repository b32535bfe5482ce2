//! A table as a backfill reads it: by a key that the WAL has of every change.

use std::sync::Arc;

use crate::mapping::{TableDescription, TableName};
use crate::pgoutput::{Column, Relation, ReplicaIdentity};

#[derive(Clone, Debug)]
pub struct Table {
    pub name: TableName,
    /// Its rows are its partitions'.
    pub partitioned: bool,
    /// As the stream describes it, without generated columns.
    pub relation: Arc<Relation>,
    pub key: Vec<KeyColumn>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyColumn {
    pub name: String,
    /// Its place among the relation's columns.
    pub place: usize,
}

/// Without such a key a row that was sent cannot be told from one that was not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoKey {
    #[error(
        "{0} has no primary key, nor a replica identity index: its rows have no order in which \
         they could be read once each. Give it a primary key"
    )]
    Missing(TableName),
    #[error(
        "{0} has REPLICA IDENTITY NOTHING: the WAL does not say which row a change met. Set it \
         to DEFAULT, which needs a primary key, or to an index"
    )]
    Nothing(TableName),
    #[error("the key of {0} has the generated column `{1}`, which is not in the WAL")]
    Generated(TableName, String),
}

impl Table {
    pub fn of(description: &TableDescription, oid: u32, partitioned: bool) -> Result<Self, NoKey> {
        let name = TableName {
            schema: description.schema.clone(),
            name: description.name.clone(),
        };
        let columns = description.columns.iter();
        let columns: Vec<_> = columns.filter(|column| !column.generated).collect();
        let mut key = Vec::new();
        for named in key_of(description).ok_or_else(|| NoKey::Nothing(name.clone()))? {
            let place = columns.iter().position(|column| column.name == *named);
            let place = place.ok_or_else(|| NoKey::Generated(name.clone(), named.clone()))?;
            key.push(KeyColumn {
                name: named.clone(),
                place,
            });
        }
        if key.is_empty() {
            return Err(NoKey::Missing(name));
        }
        let column = |column: &&crate::mapping::ColumnDescription| Column {
            name: column.name.clone(),
            identity: key.iter().any(|one| one.name == column.name),
            type_oid: column.type_oid,
            type_modifier: -1,
        };
        let relation = Relation {
            oid,
            namespace: name.schema.clone(),
            name: name.name.clone(),
            replica_identity: description.replica_identity,
            columns: columns.iter().map(column).collect(),
        };
        Ok(Table {
            name,
            partitioned,
            relation: Arc::new(relation),
            key,
        })
    }

    pub fn key_names(&self) -> Vec<String> {
        self.key.iter().map(|column| column.name.clone()).collect()
    }
}

/// The columns that every change in the log names, in the order of their index; `None`
/// where changes name none.
fn key_of(table: &TableDescription) -> Option<&[String]> {
    match table.replica_identity {
        ReplicaIdentity::Nothing => None,
        ReplicaIdentity::Full => Some(&table.primary_key),
        ReplicaIdentity::Default | ReplicaIdentity::Index => {
            let (identity, primary) = (&table.identity, &table.primary_key);
            let is_primary = identity.len() == primary.len()
                && identity.iter().all(|column| primary.contains(column));
            Some(if is_primary { primary } else { identity })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::ColumnDescription;

    fn described(identity: ReplicaIdentity, primary: &[&str], index: &[&str]) -> TableDescription {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let column = |name: &str| ColumnDescription {
            generated: name == "made",
            ..ColumnDescription::built_in(name, 25)
        };
        TableDescription {
            schema: "public".to_owned(),
            name: "t".to_owned(),
            columns: ["made", "a", "b"].map(column).to_vec(),
            primary_key: owned(primary),
            replica_identity: identity,
            identity: owned(index),
            database: crate::mapping::Database::unasked(),
        }
    }

    #[test]
    fn the_key_is_what_the_log_has_of_every_change() {
        use ReplicaIdentity::{Default, Full, Index, Nothing};
        let key = |identity, primary: &[&str], index: &[&str]| {
            Table::of(&described(identity, primary, index), 1, false).map(|table| table.key_names())
        };
        assert_eq!(key(Default, &["b", "a"], &["a", "b"]).unwrap(), ["b", "a"]);
        assert_eq!(key(Index, &["a"], &["b"]).unwrap(), ["b"]);
        assert_eq!(key(Full, &["a"], &[]).unwrap(), ["a"]);
        assert!(matches!(key(Full, &[], &[]), Err(NoKey::Missing(_))));
        assert!(matches!(key(Default, &[], &[]), Err(NoKey::Missing(_))));
        assert!(matches!(key(Nothing, &["a"], &[]), Err(NoKey::Nothing(_))));
        let generated = key(Full, &["made"], &[]).unwrap_err();
        assert!(generated.to_string().contains("`made`"), "{generated}");
    }
}
