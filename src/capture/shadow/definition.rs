//! What the text of a table's values depends on, besides changes of its rows.
//!
//! A label of an enum is renamed, a column is rewritten by `alter column … type … using`, or
//! dropped and added again with a default; a partition is attached that brings rows along; a
//! table was out of the publication for a while. None of this is in the WAL as a change of a
//! row, and an old value from before, compared with a new one from after it, would make an
//! event of nothing. The catalog tells: the definition that a shadow was filled under is kept
//! with it, and where the catalog has another one its values are in doubt.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

mod compare;
pub(in crate::capture) mod read;

pub use compare::Doubt;

/// A table's definition, of the columns that matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TableDefinition {
    /// `None`: there is no publication now.
    pub(super) publication: Option<Published>,
    /// By oid: the table itself, and the members of its partition tree.
    pub(super) members: BTreeMap<u32, Member>,
    pub(super) columns: BTreeMap<String, ColumnDefinition>,
    /// Partitions of before: one that comes back may have other rows than the shadow knows.
    pub(super) left: BTreeSet<u32>,
}

/// Of the partitions of before so many are remembered: those with the highest oids.
const LEFT: usize = 4_096;

/// How the table is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Published {
    pub(super) publication: u32,
    /// `xmin` of its row: which operations it publishes was changed.
    pub(super) version: i64,
    /// The table's row in `pg_publication_rel`; 0: it is not published by name.
    pub(super) member: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Member {
    /// `relfilenode`.
    pub(super) file: u32,
    /// The transaction that made it a partition; `None`: it is none.
    pub(super) attached: Option<i64>,
    /// What is in the catalog of its bounds, hashed.
    pub(super) bound: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ColumnDefinition {
    pub(super) type_oid: u32,
    pub(super) attnum: i16,
    /// `xmin` of its row in `pg_attribute`.
    pub(super) version: i64,
    /// Of the composite types in its type.
    pub(super) attributes: Vec<String>,
    /// Its values are labels, and not made of them.
    pub(super) is_enum: bool,
    /// Of the enums in its type, by oid.
    pub(super) labels: BTreeMap<u32, Label>,
    /// It may have become so after the slot's position.
    #[serde(skip)]
    pub(super) is_recent: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Label {
    pub(super) text: String,
    /// `xmin` of its row in `pg_enum`.
    pub(super) version: i64,
}

impl TableDefinition {
    /// Of these columns alone.
    pub(super) fn of_columns<'a>(&self, names: impl Iterator<Item = &'a str>) -> Self {
        let named = names.filter_map(|name| self.columns.get_key_value(name));
        TableDefinition {
            publication: self.publication,
            members: self.members.clone(),
            left: self.left.clone(),
            columns: named
                .map(|(name, column)| (name.clone(), column.clone()))
                .collect(),
        }
    }

    /// Whether there is such a table.
    pub fn has_columns(&self) -> bool {
        !self.columns.is_empty()
    }

    /// What is known from here on, where nothing is in doubt.
    pub fn learn(&mut self, now: &TableDefinition) {
        let member = self.publication.map_or(0, |published| published.member);
        self.publication = now.publication.map(|now| Published {
            // While it is not published, what it was is remembered: it may come back.
            member: if now.member == 0 { member } else { now.member },
            ..now
        });
        let gone = self
            .members
            .keys()
            .filter(|oid| !now.members.contains_key(oid));
        self.left.extend(gone);
        while self.left.len() > LEFT {
            self.left.pop_first();
        }
        self.members.clone_from(&now.members);
        for (name, column) in &mut self.columns {
            if let Some(now) = now.columns.get(name) {
                column.clone_from(now);
            }
        }
    }

    /// The labels that a column's values may be; `None` where they are no labels.
    pub(super) fn labels(&self, column: &str) -> Option<HashSet<Box<[u8]>>> {
        let column = self.columns.get(column).filter(|column| column.is_enum)?;
        let labels = column.labels.values();
        Some(labels.map(|label| label.text.as_bytes().into()).collect())
    }
}
