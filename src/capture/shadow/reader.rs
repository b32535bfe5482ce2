//! What the shadow says to somebody who reads the WAL beside the one that holds the
//! slot: `walhook explain`. Writes nothing.
//!
//! The shadow stands where the progress does. A change that is not taken yet is answered
//! by it, as it will be; of one that was taken before we looked, the row may be what it
//! made of it, and is not answered. Rows that changed while we read are known from that.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;

use super::layout::stored::{ActiveRule, StoredTable};
use super::layout::{OldValueTables, ShadowedTable};
use super::row::{self, Binding, RowKey};
use super::table::Bound;
use super::unsure::Unsure;
use crate::conninfo::Client;
use crate::handoff::Progress;
use crate::lsn::Lsn;
use crate::pgoutput::{Change, Operation, Relation, StreamEvent, TransactionHeader};

/// Rows that are remembered: bounds the memory.
const REMEMBERED: usize = 100_000;

pub struct ShadowReader {
    slot: String,
    /// By oid.
    tables: HashMap<u32, Read>,
    /// Rules that have become active: the columns that they had then, and from where on.
    active: HashMap<String, (Vec<String>, Lsn)>,
    /// As of the last look.
    progress: Option<Progress>,
    /// Rows as they stood when we looked.
    stored: HashMap<(u32, RowKey), Bytes>,
    /// Rows as the changes since left them; `None`: deleted.
    seen: HashMap<(u32, RowKey), Option<Bytes>>,
}

struct Read {
    table: ShadowedTable,
    /// In the store; `None`: there is no shadow of it, as it is now.
    id: Option<i32>,
    /// Those in doubt are empty: the store has what they were.
    places: Vec<String>,
    unsure: Unsure,
    bound: Option<Bound>,
}

/// A change as the rules get it.
pub struct Answered<'a> {
    pub change: Cow<'a, Change>,
    /// It was taken before we looked, and the row as it was before is not known: what
    /// was made of it stands in the store.
    pub taken: bool,
}

impl ShadowReader {
    pub fn new(slot: &str, tables: OldValueTables) -> Self {
        let read = |table: ShadowedTable| {
            let read = Read {
                id: None,
                places: Vec::new(),
                unsure: Unsure::default(),
                bound: None,
                table,
            };
            (read.table.oid, read)
        };
        ShadowReader {
            slot: slot.to_owned(),
            tables: tables.shadowed.into_iter().map(read).collect(),
            active: HashMap::new(),
            progress: None,
            stored: HashMap::new(),
            seen: HashMap::new(),
        }
    }

    /// Reads what the store says of the rows that these changes met, and how far it is.
    pub async fn look(&mut self, client: &Client, received: &[StreamEvent]) -> anyhow::Result<()> {
        if self.tables.is_empty() {
            return Ok(());
        }
        self.read_layout(client).await?;
        if self.seen.len() > REMEMBERED {
            self.seen.clear();
        }
        self.stored.clear();
        let (mut ids, mut oids, mut keys): (Vec<i32>, Vec<u32>, Vec<RowKey>) = Default::default();
        for event in received {
            if let StreamEvent::Change(change) = event
                && let Some(read) = self.tables.get_mut(&change.relation.oid)
                && let Some(id) = read.id
                && let Some((Some(key), _)) = read.keys(change)
            {
                ids.push(id);
                oids.push(change.relation.oid);
                keys.push(key);
            }
        }
        let query = include_str!("../../../sql/queries/capture/shadow/peek.sql");
        let rows = client
            .query(query, &[&self.slot, &ids, &oids, &keys])
            .await
            .context("read old values from the shadow")?;
        self.progress = rows.first().map(Progress::from_row);
        for row in rows {
            if let Some(values) = row.get::<_, Option<&[u8]>>("row_values") {
                let key = (row.get("table_oid"), row.get("row_key"));
                self.stored.insert(key, Bytes::copy_from_slice(values));
            }
        }
        Ok(())
    }

    /// Another one may begin, complete or change it at any time.
    async fn read_layout(&mut self, client: &Client) -> anyhow::Result<()> {
        let tables = StoredTable::list(client, &self.slot).await?;
        for read in self.tables.values_mut() {
            let stored = tables
                .iter()
                .find(|stored| stored.oid == read.table.oid && stored.key == read.table.watch.key);
            let places = stored.map_or_else(Vec::new, |stored| read.table.places(stored));
            let unsure = stored.map_or_else(Unsure::default, |stored| stored.unsure.clone());
            read.id = stored.map(|stored| stored.id);
            if read.places != places || read.unsure != unsure {
                (read.places, read.unsure) = (places, unsure);
                read.bound = None;
            }
        }
        let rules = ActiveRule::list(client, &self.slot).await?.into_iter();
        self.active = rules
            .map(|active| (active.rule, (active.columns, active.from)))
            .collect();
        Ok(())
    }

    /// The change with the old values that are known.
    pub fn answer<'a>(&mut self, header: &TransactionHeader, change: &'a Change) -> Answered<'a> {
        let as_it_is = Answered {
            change: Cow::Borrowed(change),
            taken: false,
        };
        let oid = change.relation.oid;
        let resume = self
            .progress
            .and_then(|progress| progress.resume(header.commit_lsn));
        let is_taken = self.progress.is_some() && resume.is_none_or(|from| change.ordinal < from);
        let Some(read) = self.tables.get_mut(&oid) else {
            return as_it_is;
        };
        if let Operation::Truncate = change.operation {
            self.seen.retain(|(of, _), _| *of != oid);
            self.stored.retain(|(of, _), _| *of != oid);
            return as_it_is;
        }
        let Some((old, new)) = read.keys(change) else {
            return as_it_is;
        };
        let Some(binding) = read.binding(&change.relation, header.xid) else {
            return as_it_is;
        };
        let key = old.clone().map(|key| (oid, key));
        let seen = key.as_ref().and_then(|key| self.seen.get(key));
        let stored = key.as_ref().and_then(|key| self.stored.get(key));
        let before = match (seen, is_taken) {
            (Some(seen), _) => seen.as_ref(),
            (None, false) => stored,
            (None, true) => None,
        };
        let before = before.and_then(row::decode);
        let taken = is_taken && seen.is_none() && old.is_some();
        let answered =
            binding.with_old_values(&change.relation, &change.operation, before.as_ref());
        let after = new.as_ref().map(|_| {
            let values = binding.values_after(&change.operation, before.as_ref());
            row::encode(&values)
        });
        if let Some(key) = key {
            self.seen.insert(key, None);
        }
        if let (Some(key), Some(values)) = (new, after) {
            self.seen.insert((oid, key), Some(values));
        }
        Answered {
            change: match answered {
                None => Cow::Borrowed(change),
                Some(operation) => Cow::Owned(Change {
                    relation: Arc::clone(&change.relation),
                    ordinal: change.ordinal,
                    operation,
                }),
            },
            taken,
        }
    }

    /// Whether the rule waits for a seed at this place of the WAL, as far as is known now.
    pub fn is_held(&self, relation: u32, rule: &str, commit_lsn: Lsn) -> bool {
        let rules = self
            .tables
            .get(&relation)
            .map(|read| &read.table.watch.rules);
        let watch = rules.and_then(|rules| rules.iter().find(|watch| *watch.name == *rule));
        let Some(watch) = watch else {
            return false;
        };
        match self.active.get(rule) {
            None => true,
            Some((columns, from)) => {
                let covered = watch.required.iter().all(|column| columns.contains(column));
                !covered || commit_lsn <= *from
            }
        }
    }
}

impl ShadowedTable {
    /// The store's places, without those of columns whose values are in doubt.
    fn places(&self, stored: &StoredTable) -> Vec<String> {
        let mut places = stored.columns.clone();
        let defined = stored.definition.as_ref();
        let doubts = stored.doubts(&self.definition);
        let is_of_key = |name: &String| self.watch.key.contains(name);
        for place in &mut places {
            let is_doubtful = doubts.iter().any(|doubt| match &doubt.column {
                None => true,
                Some(column) => column == place || is_of_key(column),
            });
            if is_doubtful || !defined.is_some_and(|of| of.columns.contains_key(place)) {
                place.clear();
            }
        }
        places
    }
}

impl Read {
    fn bind(&mut self, relation: &Arc<Relation>) -> &Bound {
        let known = self.bound.take().filter(|bound| bound.is_of(relation));
        self.bound.insert(known.unwrap_or_else(|| {
            let ShadowedTable {
                watch, partitioned, ..
            } = &self.table;
            Bound::of(
                relation,
                &watch.key,
                &self.places,
                *partitioned,
                &self.unsure,
            )
        }))
    }

    fn binding(&mut self, relation: &Arc<Relation>, xid: u32) -> Option<&Binding> {
        self.bind(relation);
        let bound = self.bound.as_ref()?;
        Some(bound.binding(&self.unsure, xid)?.0)
    }

    /// The row before the change and the row after it. All transactions have the same keys.
    fn keys(&mut self, change: &Change) -> Option<(Option<RowKey>, Option<RowKey>)> {
        let binding = self.bind(&change.relation).sure()?;
        Some(binding.keys(&change.operation))
    }
}
