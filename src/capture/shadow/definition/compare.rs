//! What of a table's definition, of before and of now, puts values of before in doubt.
//!
//! Only what can change a value's text does. `set statistics`, a default or a grant changes the
//! version of a column's row in `pg_attribute` as a rewrite does, but leaves the table's file;
//! VACUUM FULL and CLUSTER make a new file, but leave the column's row. A new length or precision
//! without a new file leaves the values as they are.

use super::{ColumnDefinition, Label, Member, TableDefinition};

/// Why values of before may not be what the database has now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// `None`: all of them.
    pub column: Option<String>,
    pub reason: String,
    /// The stream does not say that something changed, so that changes may have been mapped
    /// with values in doubt.
    pub unannounced: bool,
}

/// `text` and `varchar` have one text.
const TEXTS: [u32; 2] = [25, 1043];

impl TableDefinition {
    /// What makes values that were read under this definition doubtful `now`.
    pub fn doubts(&self, now: &TableDefinition) -> Vec<Doubt> {
        let of_table = self.republished(now).or_else(|| self.attached(now));
        let mut doubts: Vec<Doubt> = of_table
            .map(|reason| Doubt {
                column: None,
                reason,
                unannounced: false,
            })
            .into_iter()
            .collect();
        let is_rewritten = self.is_rewritten(now);
        for (name, before) in &self.columns {
            let judged = match now.columns.get(name) {
                None => Some(("it was dropped".to_owned(), false)),
                Some(now) => before.doubt(now, is_rewritten),
            };
            doubts.extend(judged.map(|(reason, unannounced)| Doubt {
                column: Some(name.clone()),
                reason: format!("column `{name}`: {reason}"),
                unannounced,
            }));
        }
        doubts
    }

    fn republished(&self, now: &TableDefinition) -> Option<String> {
        let (before, now) = (self.publication?, now.publication?);
        if (before.publication, before.version) != (now.publication, now.version) {
            return Some(
                "the publication was altered or made again, and may have lacked changes".to_owned(),
            );
        }
        (now.member != 0 && before.member != now.member)
            .then(|| "it was out of the publication for a while".to_owned())
    }

    /// Rows of a partition that comes back, or that takes the place of another, may be others
    /// than the shadow knows. Those of a table that never was a partition it does not know.
    fn attached(&self, now: &TableDefinition) -> Option<String> {
        let is_new = |(oid, member): &(&u32, &Member)| {
            let before = self.members.get(oid);
            member.attached.is_some()
                && before.is_none_or(|before| before.attached != member.attached)
        };
        let returns = |oid: &u32| self.members.contains_key(oid) || self.left.contains(oid);
        let replaces = |member: &Member| {
            self.members.iter().any(|(oid, before)| {
                before.attached.is_some()
                    && before.bound == member.bound
                    && !now.members.contains_key(oid)
            })
        };
        let brought_rows = now
            .members
            .iter()
            .filter(is_new)
            .find(|(oid, member)| returns(oid) || replaces(member));
        brought_rows.map(|(oid, _)| {
            format!(
                "the table with the oid {oid} became its partition again, or in place of another"
            )
        })
    }

    fn is_rewritten(&self, now: &TableDefinition) -> bool {
        let mut both = self.members.iter().filter_map(|(oid, before)| {
            let now = now.members.get(oid)?;
            Some((before, now))
        });
        both.any(|(before, now)| before.file != now.file)
    }
}

impl ColumnDefinition {
    /// The reason, and whether the stream does not announce it: what is altered of a type is
    /// not of the table.
    fn doubt(&self, now: &ColumnDefinition, is_rewritten: bool) -> Option<(String, bool)> {
        let texts = [self, now].map(|column| TEXTS.contains(&column.type_oid));
        if self.type_oid != now.type_oid && texts != [true; 2] {
            return Some(("it has another type".to_owned(), false));
        }
        if self.attnum != now.attnum {
            return Some(("it was dropped and added again".to_owned(), false));
        }
        if self.version != now.version && is_rewritten {
            return Some(("its values may have been rewritten".to_owned(), false));
        }
        if self.attributes != now.attributes {
            let reason = "a composite type in its type has other attributes".to_owned();
            return Some((reason, true));
        }
        self.renamed(now).map(|reason| (reason, true))
    }

    /// A label that is new is no doubt. Nor is it one that the transaction which added it has
    /// written another's row in `pg_enum`: to make room it may renumber them.
    fn renamed(&self, now: &ColumnDefinition) -> Option<String> {
        let added: Vec<i64> = now
            .labels
            .iter()
            .filter(|(oid, _)| !self.labels.contains_key(oid))
            .map(|(_, label)| label.version)
            .collect();
        self.labels.iter().find_map(|(oid, before)| {
            let Label { text, version } = match now.labels.get(oid) {
                None => return Some(format!("the label `{}` is gone", before.text)),
                Some(now) => now,
            };
            if before.text != *text {
                return Some(format!(
                    "the label `{}` was renamed to `{text}`",
                    before.text
                ));
            }
            let is_touched = before.version != *version && !added.contains(version);
            is_touched.then(|| format!("the label `{text}` may have had another name for a while"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Published;
    use std::collections::BTreeSet;

    use super::*;

    fn label(text: &str, version: i64) -> Label {
        Label {
            text: text.to_owned(),
            version,
        }
    }

    fn orders() -> TableDefinition {
        let status = ColumnDefinition {
            type_oid: 70,
            attnum: 3,
            version: 10,
            is_enum: true,
            labels: [(71, label("new", 8)), (72, label("settled", 8))].into(),
            ..ColumnDefinition::default()
        };
        let note = ColumnDefinition {
            type_oid: 25,
            attnum: 4,
            version: 10,
            ..ColumnDefinition::default()
        };
        TableDefinition {
            publication: Some(Published {
                publication: 1,
                version: 5,
                member: 2,
            }),
            members: [(50, member(50, None)), (51, member(51, Some(10)))].into(),
            left: BTreeSet::new(),
            columns: [("status".to_owned(), status), ("note".to_owned(), note)].into(),
        }
    }

    fn member(file: u32, attached: Option<i64>) -> Member {
        Member {
            file,
            attached,
            bound: i64::from(file),
        }
    }

    /// What is in doubt after this, and whether without announcement.
    fn doubts(change: impl FnOnce(&mut TableDefinition)) -> Vec<(Option<String>, bool)> {
        let mut now = orders();
        change(&mut now);
        let doubts = orders().doubts(&now);
        doubts
            .into_iter()
            .map(|doubt| (doubt.column, doubt.unannounced))
            .collect()
    }

    fn column<'a>(table: &'a mut TableDefinition, name: &str) -> &'a mut ColumnDefinition {
        table.columns.get_mut(name).unwrap()
    }

    fn rewrite(table: &mut TableDefinition) {
        table.members.insert(51, member(99, Some(10)));
    }

    #[test]
    fn what_leaves_the_values_as_they_are_is_no_doubt() {
        assert_eq!(doubts(|_| {}), []);
        // VACUUM FULL; SET STATISTICS, a default or a grant.
        assert_eq!(doubts(rewrite), []);
        assert_eq!(doubts(|now| column(now, "note").version = 11), []);
        assert_eq!(doubts(|now| column(now, "note").type_oid = 1043), []);
        // A label that is new, for which another was numbered again.
        let add = |now: &mut TableDefinition| {
            let labels = &mut column(now, "status").labels;
            labels.insert(73, label("sent", 20));
            labels.insert(72, label("settled", 20));
        };
        assert_eq!(doubts(add), []);
        // A partition that was made as one, and one that was detached.
        let made = |now: &mut TableDefinition| {
            now.members.insert(60, member(60, Some(20)));
        };
        assert_eq!(doubts(made), []);
        let detached = |now: &mut TableDefinition| now.members.retain(|oid, _| *oid != 51);
        assert_eq!(doubts(detached), []);
        // Taken out of the publication: what is missed is known when it is back.
        let unpublish = |now: &mut TableDefinition| now.publication.as_mut().unwrap().member = 0;
        assert_eq!(doubts(unpublish), []);
        assert_eq!(doubts(|now| now.publication = None), []);
    }

    #[test]
    fn what_may_change_values_is_a_doubt_of_its_column() {
        let of = |name: &str, unannounced| vec![(Some(name.to_owned()), unannounced)];
        let rewritten = |now: &mut TableDefinition| {
            rewrite(now);
            column(now, "note").version = 11;
        };
        assert_eq!(doubts(rewritten), of("note", false));
        let retyped = doubts(|now| column(now, "note").type_oid = 23);
        assert_eq!(retyped, of("note", false));
        assert_eq!(
            doubts(|now| column(now, "note").attnum = 9),
            of("note", false)
        );
        let dropped = doubts(|now| drop(now.columns.remove("note")));
        assert_eq!(dropped, of("note", false));
        let composite = doubts(|now| column(now, "note").attributes.push("7 1 25".to_owned()));
        assert_eq!(composite, of("note", true));
        for renamed in [label("paid", 20), label("new", 20), label("settled", 20)] {
            let rename = |now: &mut TableDefinition| {
                column(now, "status").labels.insert(72, renamed);
            };
            assert_eq!(doubts(rename), of("status", true));
        }
        let gone = doubts(|now| drop(column(now, "status").labels.remove(&72)));
        assert_eq!(gone, of("status", true));
    }

    #[test]
    fn what_may_bring_other_rows_is_a_doubt_of_all_columns() {
        let all = [(None, false)];
        let detached_and_attached = |now: &mut TableDefinition| {
            now.members.insert(51, member(51, Some(20)));
        };
        assert_eq!(doubts(detached_and_attached), all);
        // Made, filled and attached in place of another in one transaction.
        let replaced = |now: &mut TableDefinition| {
            let old = now.members.remove(&51).unwrap();
            let bound = old.bound;
            now.members.insert(
                60,
                Member {
                    bound,
                    ..member(60, Some(20))
                },
            );
        };
        assert_eq!(doubts(replaced), all);
        let put_back = |now: &mut TableDefinition| now.publication.as_mut().unwrap().member = 3;
        assert_eq!(doubts(put_back), all);
        let altered = |now: &mut TableDefinition| now.publication.as_mut().unwrap().version = 6;
        assert_eq!(doubts(altered), all);
    }

    #[test]
    fn a_partition_that_left_is_remembered_until_it_comes_back() {
        let (mut known, mut now) = (orders(), orders());
        now.members.remove(&51);
        known.learn(&now);
        assert_eq!(known.doubts(&now), []);
        now.members.insert(52, member(52, Some(20)));
        assert_eq!(known.doubts(&now), [], "it never was a partition");
        now.members.insert(51, member(51, Some(20)));
        assert_eq!(known.doubts(&now).len(), 1);
    }

    #[test]
    fn what_was_published_is_remembered_while_it_is_not() {
        let (mut known, mut now) = (orders(), orders());
        now.publication.as_mut().unwrap().member = 0;
        known.learn(&now);
        assert_eq!(known.doubts(&now), []);
        now.publication.as_mut().unwrap().member = 3;
        assert_eq!(known.doubts(&now).len(), 1);
    }
}
