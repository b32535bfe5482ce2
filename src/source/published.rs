//! What the publication holds of the watched tables, beside what it held before. A table
//! that was out of it for a while, or that was dropped and made again, lacks changes of
//! which the log says nothing: only the catalog's oids tell.

use anyhow::Context;

use crate::conninfo::{Client, column};
use crate::lsn::Lsn;
use crate::mapping::TableName;
use crate::replication::{GapKind, slot};

mod record;

pub use record::{Says, forget_others, record, seen};

/// What makes a published table the one that it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    pub publication: u32,
    pub table: u32,
    /// 0 where a whole schema or every table is published.
    pub member: u32,
}

/// The catalog at a position of the WAL.
#[derive(Clone, Debug)]
pub struct Catalog {
    /// Read before the catalog: what is there was there then, if it was the same before.
    pub from: Lsn,
    /// Read after it.
    pub to: Lsn,
    pub tables: Vec<(TableName, State)>,
}

/// A watched table in the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Published(Membership),
    /// The table is there and not in the publication.
    Unpublished,
    NoTable,
    NoPublication,
}

/// A row of `published_tables`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    pub membership: Membership,
    pub missing: bool,
    pub seen: Lsn,
}

/// What a look comes to for one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// As before, or never published: what `walhook setup` is for.
    None,
    /// Published for the first time.
    First(Membership),
    /// Not published any more.
    Gone { kind: GapKind, what: String },
    /// Published again: what committed meanwhile is missing.
    Back(Membership),
    /// Gone and back between two looks.
    Replaced {
        membership: Membership,
        kind: GapKind,
        what: String,
    },
}

/// Looks at the catalog of the source.
pub async fn read(
    source: &Client,
    publication: &str,
    tables: &[TableName],
) -> anyhow::Result<Catalog> {
    let from = slot::current_wal_insert_lsn(source).await?;
    let schemas: Vec<&str> = tables.iter().map(|table| &*table.schema).collect();
    let names: Vec<&str> = tables.iter().map(|table| &*table.name).collect();
    let query = include_str!("../../sql/queries/source/find_published.sql");
    let rows = source
        .query(query, &[&publication, &schemas, &names])
        .await
        .context("read what the publication holds")?;
    let to = slot::current_wal_insert_lsn(source).await?;
    let mut tables = Vec::with_capacity(rows.len());
    for row in &rows {
        let table = TableName {
            schema: column(row, "schema")?,
            name: column(row, "name")?,
        };
        let oid = |name: &'static str| column::<Option<u32>, _>(row, name);
        let state = match (
            oid("publication_oid")?,
            oid("table_oid")?,
            oid("member_oid")?,
        ) {
            (None, _, _) => State::NoPublication,
            (Some(_), None, _) => State::NoTable,
            (Some(_), Some(_), None) => State::Unpublished,
            (Some(publication), Some(table), Some(member)) => State::Published(Membership {
                publication,
                table,
                member,
            }),
        };
        tables.push((table, state));
    }
    Ok(Catalog { from, to, tables })
}

/// Judges one table.
pub fn compare(recorded: Option<&Recorded>, state: State) -> Change {
    let gone = |kind, what: &str| Change::Gone {
        kind,
        what: what.to_owned(),
    };
    match (recorded, state) {
        (None, State::Published(membership)) => Change::First(membership),
        (None, _) => Change::None,
        (Some(before), State::Published(now)) if before.missing => Change::Back(now),
        (Some(before), _) if before.missing => Change::None,
        (Some(before), State::Published(now)) => replaced(before.membership, now),
        (Some(_), State::Unpublished) => gone(
            GapKind::TableUnpublished,
            "was taken out of the publication",
        ),
        (Some(_), State::NoTable) => gone(GapKind::TableRecreated, "was dropped"),
        (Some(_), State::NoPublication) => gone(
            GapKind::PublicationDropped,
            "lost its publication, which was dropped",
        ),
    }
}

fn replaced(before: Membership, now: Membership) -> Change {
    let (kind, what) = if before == now {
        return Change::None;
    } else if before.publication != now.publication {
        (
            GapKind::PublicationRecreated,
            format!(
                "is in another publication than before: it was dropped and made again (oid {}, was {})",
                now.publication, before.publication
            ),
        )
    } else if before.table != now.table {
        (
            GapKind::TableRecreated,
            format!(
                "was dropped and made again (oid {}, was {})",
                now.table, before.table
            ),
        )
    } else {
        (
            GapKind::TableUnpublished,
            "was taken out of the publication and put back".to_owned(),
        )
    };
    Change::Replaced {
        membership: now,
        kind,
        what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAS: Membership = Membership {
        publication: 1,
        table: 2,
        member: 3,
    };

    fn judge(missing: bool, state: State) -> Change {
        let recorded = Recorded {
            membership: WAS,
            missing,
            seen: Lsn(7),
        };
        compare(Some(&recorded), state)
    }

    fn kind(change: Change) -> Option<GapKind> {
        match change {
            Change::Gone { kind, .. } | Change::Replaced { kind, .. } => Some(kind),
            Change::None | Change::First(_) | Change::Back(_) => None,
        }
    }

    #[test]
    fn tells_what_became_of_a_table() {
        let state = State::Published(WAS);
        assert_eq!(judge(false, state), Change::None);
        assert_eq!(compare(None, state), Change::First(WAS));
        assert_eq!(judge(true, state), Change::Back(WAS));
        for state in [State::Unpublished, State::NoTable, State::NoPublication] {
            assert_eq!(compare(None, state), Change::None);
            assert_eq!(judge(true, state), Change::None, "it is known already");
        }
        for (state, expected) in [
            (State::Unpublished, GapKind::TableUnpublished),
            (State::NoTable, GapKind::TableRecreated),
            (State::NoPublication, GapKind::PublicationDropped),
            (
                State::Published(Membership { member: 9, ..WAS }),
                GapKind::TableUnpublished,
            ),
            (
                State::Published(Membership {
                    table: 9,
                    member: 9,
                    ..WAS
                }),
                GapKind::TableRecreated,
            ),
            (
                State::Published(Membership {
                    publication: 9,
                    member: 9,
                    ..WAS
                }),
                GapKind::PublicationRecreated,
            ),
        ] {
            assert_eq!(kind(judge(false, state)), Some(expected), "{state:?}");
        }
    }
}
