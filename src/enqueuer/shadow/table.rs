//! A table of the shadow: what the store keeps of it, and how the stream describes it.

use std::sync::Arc;

use tokio_postgres::Statement;

use super::row::Binding;
use super::seeding::Touched;
use super::{Activated, Redefined};
use crate::conninfo::Client;
use crate::lsn::Lsn;
use crate::mapping::watch::TableWatch;
use crate::pgoutput::Relation;

/// A table of the shadow, as the store has it and as the stream describes it.
pub(super) struct Table {
    pub(super) id: i32,
    pub(super) oid: u32,
    pub(super) partitioned: bool,
    pub(super) watch: TableWatch,
    /// By place; empty where the place is not used any more.
    pub(super) places: Vec<String>,
    pub(super) complete: bool,
    pub(super) seeded_key: Option<Vec<String>>,
    pub(super) seeded_rows: i64,
    pub(super) complete_at: Option<Lsn>,
    /// The state above differs from the store's.
    pub(super) changed: bool,
    /// The store's rows are void, and not deleted yet.
    pub(super) cleared: bool,
    /// The table has REPLICA IDENTITY FULL by now: its shadow is for what the log still
    /// brings from before, and waits for no seed.
    pub(super) lingering: bool,
    /// The log has come to where FULL begins: the shadow is to be deleted.
    pub(super) retired: bool,
    pub(super) bound: Option<(Arc<Relation>, Option<Binding>)>,
    /// As it was at the last change that was applied.
    pub(super) relation: Option<Arc<Relation>>,
    pub(super) touched: Touched,
    /// Rules that wait for the seed, each with the columns that it needs.
    pub(super) held: Vec<Activated>,
}

impl Table {
    /// Where the relation has what is watched; bound anew when the stream has described
    /// it anew.
    pub(super) fn bind(&mut self, relation: &Arc<Relation>) -> Option<&Binding> {
        let known = self.bound.as_ref();
        if !known.is_some_and(|(bound, _)| Arc::ptr_eq(bound, relation)) {
            let binding = Binding::of(relation, &self.watch.key, &self.places, self.partitioned);
            self.bound = Some((Arc::clone(relation), binding));
        }
        self.bound
            .as_ref()
            .and_then(|(_, binding)| binding.as_ref())
    }

    /// A watched column of another type has another text: what the shadow holds of it
    /// cannot be compared with what the log brings from here on.
    pub(super) fn refuse_redefinition(
        &mut self,
        relation: &Arc<Relation>,
    ) -> Result<(), Redefined> {
        let last = self.relation.replace(Arc::clone(relation));
        let Some(last) = last.filter(|last| !Arc::ptr_eq(last, relation)) else {
            return Ok(());
        };
        let type_in = |relation: &Relation, name: &str| {
            let column = relation.columns.iter().find(|column| column.name == name)?;
            Some((column.type_oid, column.type_modifier))
        };
        let retyped = self.places.iter().find(|name| {
            let (before, now) = (type_in(&last, name), type_in(relation, name));
            before.is_some() && now.is_some() && before != now
        });
        match retyped {
            None => Ok(()),
            Some(name) => Err(Redefined(format!(
                "column `{name}` of {} has another type",
                self.watch.table
            ))),
        }
    }

    /// Whether the store's shadow differs, its rows aside.
    pub(super) fn is_dirty(&self) -> bool {
        self.changed || self.cleared || self.retired
    }

    /// Whether rows that were there before the shadow are still to be read.
    pub(super) fn is_seeding(&self) -> bool {
        !self.complete && !self.lingering
    }

    /// Nothing has been read for the seed yet.
    pub(super) fn is_untouched(&self) -> bool {
        !self.complete && self.seeded_rows == 0 && !self.touched.is_open()
    }

    /// The seed begins anew.
    pub(super) fn restart(&mut self) {
        self.complete = false;
        self.seeded_key = None;
        self.seeded_rows = 0;
        self.complete_at = None;
        self.touched = Touched::default();
        self.changed = true;
    }

    pub(super) async fn write(
        &self,
        client: &Client,
        update: &Statement,
    ) -> Result<u64, tokio_postgres::Error> {
        let state = match self.complete {
            true => "complete",
            false => "seeding",
        };
        client
            .execute(
                update,
                &[
                    &self.id,
                    &state,
                    &self.seeded_key,
                    &self.seeded_rows,
                    &self.complete_at,
                ],
            )
            .await
    }
}
