//! Columns of which it is not known, of what early transactions bring, whether that was
//! written under the definition that the shadow is filled under.
//!
//! The catalog is read in the present, and the stream may be behind: nothing in it says where
//! a label was renamed. But a transaction that had no id yet when the catalog was read has
//! changed nothing before. What older ones bring of such columns is neither kept nor compared.

use std::collections::HashSet;

use crate::capture::watermark::{Snapshot, in_wal, precedes};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Unsure {
    /// The first id whose transactions are sure; `None`: all are.
    from: Option<u64>,
    columns: Vec<String>,
    /// As of the snapshot that the present definition was read in.
    next: Option<u64>,
}

/// Ids that are much older could be taken for ids to come: they wrap around. No transaction
/// is open for so many others.
const REMEMBERED: u64 = 1 << 30;

impl Unsure {
    /// As the store has it.
    pub(super) fn stored(from: Option<i64>, columns: Vec<String>) -> Self {
        Unsure {
            from: from.map(i64::cast_unsigned),
            columns,
            next: None,
        }
    }

    /// As the store takes it.
    pub(super) fn columns(&self) -> (Option<i64>, &[String]) {
        (self.from.map(u64::cast_signed), &self.columns)
    }

    /// A session begins, with a look at the catalog. `kept`: columns whose values are kept.
    pub(super) fn begin(&mut self, snapshot: Option<&Snapshot>, kept: &HashSet<String>) {
        self.next = snapshot.map(Snapshot::next_xid);
        let is_old = |from: u64| self.next.is_some_and(|next| next > from + REMEMBERED);
        self.columns.retain(|name| kept.contains(name));
        if self.columns.is_empty() || self.from.is_some_and(is_old) {
            self.clear();
        }
    }

    /// The column's definition is new.
    pub(super) fn add(&mut self, name: &str) {
        if let Some(next) = self.next {
            self.from = Some(next);
            self.columns.push(name.to_owned());
        }
    }

    /// Whether the transaction's values of these columns are not sure.
    pub(super) fn concerns(&self, xid: u32) -> bool {
        self.from.is_some_and(|from| precedes(xid, in_wal(from)))
    }

    pub(super) fn contains(&self, column: &str) -> bool {
        self.columns.iter().any(|name| name == column)
    }

    /// Everything that this snapshot sees has been taken: where the early transactions are
    /// among it, none is left.
    pub(super) fn settle(&mut self, snapshot: &Snapshot) {
        if self.from.is_some_and(|from| snapshot.has_left(from)) {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.from = None;
        self.columns.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unsure(snapshot: &Snapshot, kept: &[&str]) -> Unsure {
        let mut unsure = Unsure::default();
        unsure.begin(Some(snapshot), &HashSet::new());
        kept.iter().for_each(|name| unsure.add(name));
        unsure
    }

    #[test]
    fn transactions_that_may_have_begun_before_are_unsure_until_none_is_left() {
        let snapshot = |text| Snapshot::parse(text).unwrap();
        let mut unsure = unsure(&snapshot("10:14:10"), &["status"]);
        assert!(unsure.contains("status") && !unsure.contains("note"));
        assert!(unsure.concerns(9) && unsure.concerns(13) && !unsure.concerns(14));
        unsure.settle(&snapshot("12:20:12"));
        assert!(unsure.concerns(13), "12 may come yet");
        unsure.settle(&snapshot("14:20:14"));
        assert!(!unsure.concerns(13) && !unsure.contains("status"));
    }

    #[test]
    fn a_later_session_keeps_what_is_watched_still_and_forgets_old_ids() {
        let kept: HashSet<String> = ["status".to_owned()].into();
        let early = Snapshot::parse("10:14:10").unwrap();
        let mut known = unsure(&early, &["status", "note"]);
        known.begin(Some(&early), &kept);
        assert!(known.contains("status") && !known.contains("note"));
        let late = format!("{0}:{0}:", 15 + REMEMBERED);
        known.begin(Snapshot::parse(&late).as_ref(), &kept);
        assert_eq!(known.columns(), (None, &[][..]));
    }
}
