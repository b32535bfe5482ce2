//! A table of the shadow: what the store keeps of it, and how the stream describes it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_postgres::Statement;

use super::definition::TableDefinition;
use super::row::{Binding, Values};
use super::seeding::Touched;
use super::unsure::Unsure;
use super::{Activated, Redefined};
use crate::capture::watermark::Snapshot;
use crate::conninfo::Client;
use crate::lsn::Lsn;
use crate::mapping::UnknownLabel;
use crate::mapping::watch::TableWatch;
use crate::pgoutput::{Relation, TupleValue};

/// A table of the shadow, as the store has it and as the stream describes it.
pub(super) struct Table {
    pub(super) id: i32,
    pub(super) oid: u32,
    pub(super) partitioned: bool,
    pub(super) watch: TableWatch,
    /// By place; empty where the place is not used any more.
    pub(super) places: Vec<String>,
    /// By place: the labels that are known, where the values are labels.
    pub(super) labels: Vec<Option<HashSet<Box<[u8]>>>>,
    pub(super) complete: bool,
    pub(super) seeded_key: Option<Vec<String>>,
    pub(super) seeded_rows: i64,
    pub(super) complete_at: Option<Lsn>,
    /// The state above differs from the store's.
    pub(super) changed: bool,
    /// The store's rows are void, and not deleted yet.
    pub(super) cleared: bool,
    /// The table has REPLICA IDENTITY FULL by now: its shadow is for what the WAL still
    /// brings from before, and waits for no seed.
    pub(super) lingering: bool,
    /// The WAL has come to where FULL begins: the shadow is to be deleted.
    pub(super) retired: bool,
    pub(super) bound: Option<Bound>,
    /// As the stream described it last.
    pub(super) relation: Option<Arc<Relation>>,
    /// What the values were read under.
    pub(super) definition: TableDefinition,
    /// The catalog that it is known to be of; `None`: none was read.
    pub(super) seen: Option<Seen>,
    pub(super) doubt: Option<InDoubt>,
    pub(super) unsure: Unsure,
    /// The last commit whose changes were mapped with old values of the shadow.
    pub(super) answered: Lsn,
    pub(super) touched: Touched,
    /// Rules that wait for the seed, each with the columns that it needs.
    pub(super) held: Vec<Activated>,
}

/// The catalog has another definition than the values were read under.
pub(super) struct InDoubt {
    /// Descriptions that the stream has made of the table since: under these it may be so.
    pub(super) relations: Vec<Arc<Relation>>,
    pub(super) reason: String,
}

/// A look at the catalog.
#[derive(Clone)]
pub(super) struct Seen {
    snapshot: Arc<Snapshot>,
    at: Instant,
}

/// Ids that are much older could be taken for ids to come: they wrap around after two thousand
/// million transactions.
const YOUNG: Duration = Duration::from_secs(6 * 3600);

impl Seen {
    pub(super) fn now(snapshot: Arc<Snapshot>) -> Self {
        Seen {
            snapshot,
            at: Instant::now(),
        }
    }

    /// Whether the transaction was visible to it.
    pub(super) fn includes(&self, xid: u32) -> bool {
        self.at.elapsed() < YOUNG && !self.snapshot.may_miss(xid)
    }
}

/// Where a relation has what is watched.
pub(super) struct Bound {
    relation: Arc<Relation>,
    sure: Option<Binding>,
    /// Without the columns that are [`Unsure`], where there are any.
    early: Option<Binding>,
}

impl Bound {
    pub(super) fn of(
        relation: &Arc<Relation>,
        key: &[String],
        places: &[String],
        partitioned: bool,
        unsure: &Unsure,
    ) -> Self {
        let binding = |places: &[String]| Binding::of(relation, key, places, partitioned);
        let is_unsure = places.iter().any(|name| unsure.contains(name));
        let sure_places = |name: &String| match unsure.contains(name) {
            true => String::new(),
            false => name.clone(),
        };
        Bound {
            relation: Arc::clone(relation),
            sure: binding(places),
            early: is_unsure
                .then(|| binding(&places.iter().map(sure_places).collect::<Vec<_>>()))
                .flatten(),
        }
    }

    pub(super) fn is_of(&self, relation: &Arc<Relation>) -> bool {
        Arc::ptr_eq(&self.relation, relation)
    }

    /// Where all columns are, which is enough for the rows' keys.
    pub(super) fn sure(&self) -> Option<&Binding> {
        self.sure.as_ref()
    }

    /// As it is for the transaction's changes; whether that is without some columns.
    pub(super) fn binding(&self, unsure: &Unsure, xid: u32) -> Option<(&Binding, bool)> {
        match &self.early {
            Some(early) if unsure.concerns(xid) => Some((early, true)),
            Some(_) | None => self.sure.as_ref().map(|binding| (binding, false)),
        }
    }
}

impl Table {
    /// Where the relation has what is watched; bound again when the stream has described
    /// it again.
    pub(super) fn bind(&mut self, relation: &Arc<Relation>) -> Option<&Binding> {
        if !self
            .bound
            .as_ref()
            .is_some_and(|bound| bound.is_of(relation))
        {
            let (key, places) = (&self.watch.key, &self.places);
            let bound = Bound::of(relation, key, places, self.partitioned, &self.unsure);
            self.bound = Some(bound);
        }
        self.bound.as_ref().and_then(Bound::sure)
    }

    /// The same for a transaction's changes, and whether that lacks columns that are unsure.
    pub(super) fn binding(&self, xid: u32) -> Option<(&Binding, bool)> {
        let bound = self.bound.as_ref()?;
        bound.binding(&self.unsure, xid)
    }

    /// Whether the catalog is to be read for the description: once for each.
    pub(super) fn is_newly_described(&mut self, relation: &Arc<Relation>) -> bool {
        if self.lingering || self.is_described_by(relation) {
            return false;
        }
        self.relation = Some(Arc::clone(relation));
        if let Some(doubt) = &mut self.doubt {
            doubt.relations.push(Arc::clone(relation));
        }
        self.doubt.is_none()
    }

    fn is_described_by(&self, relation: &Arc<Relation>) -> bool {
        let last = self.relation.as_ref();
        last.is_some_and(|last| Arc::ptr_eq(last, relation))
    }

    /// Fails where the stream comes to a description under which the values may be others.
    pub(super) fn refuse_doubt(&self, relation: &Arc<Relation>) -> Result<(), Redefined> {
        let Some(InDoubt { relations, reason }) = &self.doubt else {
            return Ok(());
        };
        match relations.iter().any(|one| Arc::ptr_eq(one, relation)) {
            true => Err(Redefined(format!("{}: {reason}", self.watch.table))),
            false => Ok(()),
        }
    }

    /// The values are known to be of this definition.
    pub(super) fn define(&mut self, definition: TableDefinition) {
        self.definition = definition;
        let labels = |name: &String| self.definition.labels(name);
        self.labels = self.places.iter().map(labels).collect();
    }

    /// The label that another value became by this update and that the definition lacks: it
    /// is new, or the name of one that had another.
    pub(super) fn unknown_label(&self, before: &Values, after: &Values) -> Option<UnknownLabel> {
        let mut places = self.labels.iter().enumerate();
        places.find_map(|(place, known)| {
            let known = known.as_ref()?;
            let (TupleValue::Text(was), TupleValue::Text(is)) =
                (before.get(place)?, after.get(place)?)
            else {
                return None;
            };
            if was == is || known.contains(&is[..]) {
                return None;
            }
            let name = self.places.get(place)?;
            let mut columns = self.watch.columns.iter();
            let column = columns.find(|column| column.name == *name)?;
            Some(UnknownLabel {
                of: column.type_name.clone(),
                label: String::from_utf8_lossy(is).into_owned(),
            })
        })
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

    /// The seed begins again.
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
        let (sure_from, unsure) = self.unsure.columns();
        client
            .execute(
                update,
                &[
                    &self.id,
                    &state,
                    &self.seeded_key,
                    &self.seeded_rows,
                    &self.complete_at,
                    &sure_from,
                    &unsure,
                ],
            )
            .await
    }
}
