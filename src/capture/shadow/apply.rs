//! What a change of the WAL makes of the shadow, and what the shadow knows of the row
//! that the change met.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use super::definition::read::SourceCatalog;
use super::look::Described;
use super::{Redefined, Shadow, row};
use crate::capture::session::Interrupted;
use crate::conninfo::Client;
use crate::mapping::RuleSet;
use crate::pgoutput::{
    Change, DecodeError, Operation, ReplicaIdentity, StreamEvent, TransactionHeader,
};

impl Shadow {
    /// Reads the rows that these changes speak of, in one query, and the catalog where the
    /// stream has described a table again. `open`: the transaction that the first is in.
    pub(in crate::capture) async fn look_up(
        &mut self,
        client: &Client,
        catalog: &SourceCatalog,
        open: Option<u32>,
        received: &[StreamEvent],
    ) -> anyhow::Result<()> {
        self.rows.begin();
        let mut wanted = HashSet::new();
        let (mut xid, mut described) = (open, Vec::new());
        for event in received {
            let change = match event {
                StreamEvent::Change(change) => change,
                StreamEvent::Begin(header) => {
                    xid = Some(header.xid);
                    continue;
                }
                StreamEvent::Commit { .. }
                | StreamEvent::Keepalive { .. }
                | StreamEvent::Message { .. }
                | StreamEvent::Undecodable { .. } => continue,
            };
            let Some(&index) = self.by_oid.get(&change.relation.oid) else {
                continue;
            };
            let table = &mut self.tables[index];
            if table.is_newly_described(&change.relation) {
                let relation = Arc::clone(&change.relation);
                described.extend(xid.map(|xid| Described {
                    index,
                    relation,
                    xid,
                }));
            }
            if let Some(binding) = table.bind(&change.relation) {
                let (old, _) = binding.keys(&change.operation);
                wanted.extend(old.map(|key| (index, key)));
            }
        }
        self.look_at_catalog(client, catalog, described).await?;
        self.rows
            .fetch(client, &self.statements, &self.tables, wanted.into_iter())
            .await
    }

    /// Brings the shadow to what it is after the change, and answers the change with what the shadow
    /// knew of the row before. Fails where the next session is to take the change.
    pub(in crate::capture) fn apply<'a>(
        &mut self,
        rules: &RuleSet,
        header: &TransactionHeader,
        change: &'a Change,
    ) -> anyhow::Result<Cow<'a, Change>> {
        let Some(&index) = self.by_oid.get(&change.relation.oid) else {
            self.refuse_unlogged(header, change)?;
            return Ok(Cow::Borrowed(change));
        };
        let table = &mut self.tables[index];
        table.refuse_doubt(&change.relation)?;
        if let Operation::Truncate = change.operation {
            table.touched.all(header.xid);
            self.clear(index);
            return Ok(Cow::Borrowed(change));
        }
        if table.lingering && carries_old_values(change) {
            // From here on the WAL has what the shadow was for.
            table.retired = true;
            self.by_oid.remove(&change.relation.oid);
            self.rows.clear(index);
            return Ok(Cow::Borrowed(change));
        }
        if table.lingering {
            self.refuse_unlogged(header, change)?;
        }
        let table = &mut self.tables[index];
        if table.bind(&change.relation).is_none() {
            if table.is_untouched() || table.lingering {
                // From before the definition that the shadow is made for, and so from
                // before everything that the seed will read.
                return Ok(Cow::Borrowed(change));
            }
            let reason = format!("the replica identity of {} changed", table.watch.table);
            table.restart();
            self.clear(index);
            return Err(Redefined(reason).into());
        }
        Ok(match self.answer(rules, index, header, change)? {
            None => Cow::Borrowed(change),
            Some(operation) => Cow::Owned(Change {
                relation: Arc::clone(&change.relation),
                ordinal: change.ordinal,
                operation,
            }),
        })
    }

    fn answer(
        &mut self,
        rules: &RuleSet,
        index: usize,
        header: &TransactionHeader,
        change: &Change,
    ) -> Result<Option<Operation>, Interrupted> {
        let table = &mut self.tables[index];
        let Some((binding, is_early)) = table.binding(header.xid) else {
            return Ok(None);
        };
        let (old, new) = binding.keys(&change.operation);
        let stored = old.as_ref().and_then(|key| self.rows.get(index, key));
        let before = stored.and_then(row::decode);
        let answered =
            binding.with_old_values(&change.relation, &change.operation, before.as_ref());
        let after = new.as_ref().map(|_| {
            let values = binding.values_after(&change.operation, before.as_ref());
            (row::encode(&values), values)
        });
        let unchanged = old == new && stored == after.as_ref().map(|(encoded, _)| encoded);
        if let (Some(before), Some((_, after)), false) = (&before, &after, unchanged || is_early)
            && let Some(label) = table.unknown_label(before, after)
            && rules.note_unknown_label(&label)
        {
            return Err(Interrupted::NewLabel(label.of));
        }
        if answered.is_some() {
            table.answered = header.commit_lsn;
        }
        if table.is_seeding() {
            let keys = [old.as_ref(), new.as_ref()];
            table.touched.row(header.xid, keys);
            if is_early {
                table.touched.spoil();
            }
        }
        if !unchanged {
            if let Some(key) = old.filter(|old| new.as_ref() != Some(old)) {
                self.rows.set(index, key, None);
            }
            if let (Some(key), Some((values, _))) = (new, after) {
                self.rows.set(index, key, Some(values));
            }
        }
        Ok(answered)
    }

    /// A table with REPLICA IDENTITY FULL lost it, after the catalog that we have read:
    /// the next session reads it again. What committed before that is from before the
    /// table got it.
    fn refuse_unlogged(
        &self,
        header: &TransactionHeader,
        change: &Change,
    ) -> Result<(), Redefined> {
        let Some(table) = self.logged.get(&change.relation.oid) else {
            return Ok(());
        };
        if header.commit_lsn < self.as_of || carries_old_values(change) {
            return Ok(());
        }
        Err(Redefined(format!(
            "{table} has no REPLICA IDENTITY FULL any more"
        )))
    }

    /// A change that could not be read may have met any row of its table, or of any
    /// table where that is not known either: nothing that the shadow holds of it is sure.
    pub(in crate::capture) fn invalidate(
        &mut self,
        header: &TransactionHeader,
        relation: Option<&str>,
        error: &DecodeError,
    ) -> Result<(), Redefined> {
        let concerned = |shadow: &Shadow, index: usize| match (error, relation) {
            (DecodeError::UnknownRelation { oid, .. }, _) => shadow.tables[index].oid == *oid,
            (_, Some(name)) => shadow.tables[index].watch.table.to_string() == name,
            (_, None) => true,
        };
        let mut redefined = None;
        for index in 0..self.tables.len() {
            if !concerned(self, index) {
                continue;
            }
            self.clear(index);
            let table = &mut self.tables[index];
            table.touched.all(header.xid);
            // What nothing has been read for yet is read after this.
            if !table.lingering && !table.is_untouched() {
                table.restart();
                let name = &table.watch.table;
                redefined = Some(format!("a change of {name} could not be decoded"));
            }
        }
        match redefined {
            None => Ok(()),
            Some(reason) => Err(Redefined(reason)),
        }
    }

    /// The table has no rows any more.
    fn clear(&mut self, index: usize) {
        self.tables[index].cleared = true;
        self.rows.clear(index);
    }
}

/// Whether the WAL has the whole row before it: a partition may lack what its root
/// announces.
fn carries_old_values(change: &Change) -> bool {
    change.relation.replica_identity == ReplicaIdentity::Full
        && !matches!(change.operation, Operation::Update { old: None, .. })
}
