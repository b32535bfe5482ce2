//! What a change of the log makes of the shadow, and what the shadow knows of the row
//! that the change met.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use super::{Redefined, Shadow, row};
use crate::conninfo::Client;
use crate::pgoutput::{
    Change, DecodeError, Operation, ReplicaIdentity, StreamEvent, TransactionHeader,
};

impl Shadow {
    /// Reads the rows that these changes speak of, in one query.
    pub(in crate::enqueuer) async fn look_up(
        &mut self,
        client: &Client,
        received: &[StreamEvent],
    ) -> anyhow::Result<()> {
        self.rows.begin();
        let mut wanted = HashSet::new();
        for event in received {
            let StreamEvent::Change(change) = event else {
                continue;
            };
            let Some(&index) = self.by_oid.get(&change.relation.oid) else {
                continue;
            };
            let table = &mut self.tables[index];
            if let Some(binding) = table.bind(&change.relation) {
                let (old, _) = binding.keys(&change.operation);
                wanted.extend(old.map(|key| (index, key)));
            }
        }
        self.rows
            .fetch(client, &self.statements, &self.tables, wanted.into_iter())
            .await
    }

    /// Brings the shadow behind the change, and answers the change with what the shadow
    /// knew of the row before.
    pub(in crate::enqueuer) fn apply<'a>(
        &mut self,
        header: &TransactionHeader,
        change: &'a Change,
    ) -> Result<Cow<'a, Change>, Redefined> {
        let Some(&index) = self.by_oid.get(&change.relation.oid) else {
            self.refuse_unlogged(header, change)?;
            return Ok(Cow::Borrowed(change));
        };
        let table = &mut self.tables[index];
        if let Operation::Truncate = change.operation {
            table.touched.all(header.xid);
            self.clear(index);
            return Ok(Cow::Borrowed(change));
        }
        if table.lingering && carries_old_values(change) {
            // From here on the log has what the shadow was for.
            table.retired = true;
            self.by_oid.remove(&change.relation.oid);
            self.rows.clear(index);
            return Ok(Cow::Borrowed(change));
        }
        if table.lingering {
            self.refuse_unlogged(header, change)?;
        }
        let table = &mut self.tables[index];
        if !table.lingering {
            table.refuse_redefinition(&change.relation)?;
        }
        if table.bind(&change.relation).is_none() {
            if table.is_untouched() || table.lingering {
                // From before the definition that the shadow is made for, and so from
                // before everything that the seed will read.
                return Ok(Cow::Borrowed(change));
            }
            let reason = format!("the replica identity of {} changed", table.watch.table);
            table.restart();
            self.clear(index);
            return Err(Redefined(reason));
        }
        Ok(match self.answer(index, header.xid, change) {
            None => Cow::Borrowed(change),
            Some(operation) => Cow::Owned(Change {
                relation: Arc::clone(&change.relation),
                ordinal: change.ordinal,
                operation,
            }),
        })
    }

    fn answer(&mut self, index: usize, xid: u32, change: &Change) -> Option<Operation> {
        let table = &mut self.tables[index];
        let (_, binding) = table.bound.as_ref()?;
        let binding = binding.as_ref()?;
        let (old, new) = binding.keys(&change.operation);
        let stored = old.as_ref().and_then(|key| self.rows.get(index, key));
        let before = stored.and_then(row::decode);
        let answered =
            binding.with_old_values(&change.relation, &change.operation, before.as_ref());
        let after = new.as_ref().map(|_| {
            let values = binding.values_after(&change.operation, before.as_ref());
            row::encode(&values)
        });
        let unchanged = old == new && stored == after.as_ref();
        if table.is_seeding() {
            table.touched.row(xid, [old.as_ref(), new.as_ref()]);
        }
        if !unchanged {
            if let Some(key) = old.filter(|old| new.as_ref() != Some(old)) {
                self.rows.set(index, key, None);
            }
            if let (Some(key), Some(values)) = (new, after) {
                self.rows.set(index, key, Some(values));
            }
        }
        answered
    }

    /// A table with REPLICA IDENTITY FULL lost it, behind the catalog that we have read:
    /// the next session reads it anew. What committed before that is from before the
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
    pub(in crate::enqueuer) fn invalidate(
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

/// Whether the log has the whole row before it: a partition may lack what its root
/// announces.
fn carries_old_values(change: &Change) -> bool {
    change.relation.replica_identity == ReplicaIdentity::Full
        && !matches!(change.operation, Operation::Update { old: None, .. })
}
