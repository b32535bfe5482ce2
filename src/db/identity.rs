//! Whether the store is the one that setup made, or a copy of it: a copy holds deliveries
//! that the original sends.

use anyhow::Context;
use tokio_postgres::{Error, Row};

use super::{SessionError, Store, StoreKey};
use crate::conninfo::Queries;

/// Where a store is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreIdentity {
    /// Given at initdb; survives fail-over, base backup and restore of one.
    pub system_identifier: String,
    /// Counts the histories of the WAL: a promotion begins a new one.
    pub timeline: i32,
    pub database_oid: u32,
    pub database: String,
    /// Of the table that says all this. A dump that was restored has another.
    pub table_oid: u32,
}

/// What the store has on record of itself, and what it is.
#[derive(Clone, Debug)]
pub struct StoreComparison {
    pub recorded: StoreIdentity,
    pub found: StoreIdentity,
    /// An instance found that commits of its own were missing.
    pub branched: bool,
}

/// The store is a copy, or lost what it had committed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    #[error(
        "the store is a copy: it was made on the PostgreSQL system {recorded} and this is {found}. {REMEDY}"
    )]
    OtherSystem { recorded: String, found: String },
    #[error(
        "the store is a copy: it was made in the database `{recorded}` (oid {recorded_oid}) and this is `{found}` (oid {found_oid}). {REMEDY}"
    )]
    OtherDatabase {
        recorded: String,
        recorded_oid: u32,
        found: String,
        found_oid: u32,
    },
    #[error(
        "the store is a copy: its tables are not those that `walhook setup` made, as after a dump was restored. {REMEDY}"
    )]
    Restored,
    #[error(
        "the store is a copy, or its server was restored: it was on timeline {recorded} and is on {found}, which is older. {REMEDY}"
    )]
    OlderTimeline { recorded: i32, found: i32 },
    #[error(
        "the store lacks what was committed to it: its server was failed over, or restored, to a state from before that. {REMEDY}"
    )]
    Branched,
    #[error(
        "another store answers at the address of the one that this process began with: it was replaced meanwhile. Start walhook again"
    )]
    Replaced,
}

/// The one way on where the store is not what it was.
const REMEDY: &str = "Nothing is captured or sent, as the original may do so: run \
    `walhook adopt-store` to see what is pending here, and with --confirm where this store is to be \
    used from now on";

impl StoreComparison {
    fn of(row: &Row) -> Result<Self, Error> {
        Ok(StoreComparison {
            recorded: StoreIdentity {
                system_identifier: row.try_get("system_identifier")?,
                timeline: row.try_get("timeline")?,
                database_oid: row.try_get("database_oid")?,
                database: row.try_get("database_name")?,
                table_oid: row.try_get("table_oid")?,
            },
            found: StoreIdentity {
                system_identifier: row.try_get("found_system_identifier")?,
                timeline: row.try_get("found_timeline")?,
                database_oid: row.try_get("found_database_oid")?,
                database: row.try_get("found_database_name")?,
                table_oid: row.try_get("found_table_oid")?,
            },
            branched: row.try_get("branched")?,
        })
    }

    /// Whether the store is the one that it says it is. A later timeline is accepted: what
    /// the store holds was committed before that one began, or it would not be here.
    pub fn judge(&self) -> Result<(), IdentityError> {
        let (recorded, found) = (&self.recorded, &self.found);
        if recorded.system_identifier != found.system_identifier {
            return Err(IdentityError::OtherSystem {
                recorded: recorded.system_identifier.clone(),
                found: found.system_identifier.clone(),
            });
        }
        // A database that was renamed is the same.
        if recorded.database_oid != found.database_oid {
            return Err(IdentityError::OtherDatabase {
                recorded: recorded.database.clone(),
                recorded_oid: recorded.database_oid,
                found: found.database.clone(),
                found_oid: found.database_oid,
            });
        }
        if recorded.table_oid != found.table_oid {
            return Err(IdentityError::Restored);
        }
        if found.timeline < recorded.timeline {
            return Err(IdentityError::OlderTimeline {
                recorded: recorded.timeline,
                found: found.timeline,
            });
        }
        match self.branched {
            true => Err(IdentityError::Branched),
            false => Ok(()),
        }
    }

    /// Keeps on record that the server was failed over, so that the former one is known
    /// for older where it comes back.
    pub async fn note_timeline(&self, client: &impl Queries) -> anyhow::Result<()> {
        let timeline = self.found.timeline;
        if timeline > self.recorded.timeline {
            client
                .execute(
                    include_str!("../../sql/queries/db/note_timeline.sql"),
                    &[&timeline],
                )
                .await
                .context("note the store's timeline")?;
        }
        Ok(())
    }

    /// Whether it is the store that the process began with.
    fn judge_as(&self, began_with: &StoreIdentity) -> Result<(), IdentityError> {
        self.judge()?;
        let same_table = self.found.table_oid == began_with.table_oid
            && self.found.database_oid == began_with.database_oid
            && self.found.system_identifier == began_with.system_identifier;
        match same_table {
            true => Ok(()),
            false => Err(IdentityError::Replaced),
        }
    }
}

/// The store's one row.
#[derive(Clone, Debug)]
pub struct StoreRecord {
    pub identity: StoreComparison,
    /// `None` where nothing was encrypted yet.
    pub key: Option<StoreKey>,
}

impl StoreRecord {
    pub async fn read(client: &impl Queries) -> anyhow::Result<Self> {
        let read = StoreRecord::query(client).await;
        read.context("read what the store knows of itself")
    }

    async fn query(client: &impl Queries) -> Result<Self, Error> {
        let row = client
            .query_one(include_str!("../../sql/queries/db/store_identity.sql"), &[])
            .await?;
        Ok(StoreRecord {
            identity: StoreComparison::of(&row)?,
            key: StoreKey::of(&row),
        })
    }
}

/// Compares a new session's store with the one that the process began with.
pub(super) async fn check_session(
    client: &impl Queries,
    began_with: &StoreIdentity,
) -> Result<(), SessionError> {
    let record = StoreRecord::query(client).await?;
    Ok(record.identity.judge_as(began_with)?)
}

impl Store {
    /// Fails with an [`IdentityError`] where the store is not the one that was set up. From
    /// then on no session is opened, by this or by any [`reopen`](Store::reopen)ed one, to
    /// another store that comes to stand at its address.
    pub async fn check_identity(&self) -> anyhow::Result<()> {
        let client = self.get().await?;
        let compared = StoreRecord::read(&*client).await?.identity;
        compared.judge()?;
        compared.note_timeline(&*client).await?;
        self.began_with.get_or_init(|| compared.found);
        Ok(())
    }

    /// Records that the store is to be used as it is found.
    pub async fn adopt(client: &impl Queries, found: &StoreIdentity) -> anyhow::Result<()> {
        client
            .execute(
                include_str!("../../sql/queries/db/adopt_store.sql"),
                &[
                    &found.system_identifier,
                    &found.timeline,
                    &found.database_oid,
                    &found.database,
                    &found.table_oid,
                ],
            )
            .await
            .context("record the store's identity")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> StoreIdentity {
        StoreIdentity {
            system_identifier: "7".to_owned(),
            timeline: 2,
            database_oid: 5,
            database: "app".to_owned(),
            table_oid: 9,
        }
    }

    /// The judgement where what is found differs in one thing.
    fn judge(change: impl FnOnce(&mut StoreIdentity)) -> Result<(), IdentityError> {
        let mut found = identity();
        change(&mut found);
        let compared = StoreComparison {
            recorded: identity(),
            found,
            branched: false,
        };
        compared.judge()
    }

    #[test]
    fn a_store_that_is_renamed_or_failed_over_is_the_same() {
        assert_eq!(judge(|_| {}), Ok(()));
        assert_eq!(judge(|found| found.timeline = 4), Ok(()));
        assert_eq!(judge(|found| found.database = "b".to_owned()), Ok(()));
    }

    #[test]
    fn a_copy_is_told_by_whatever_it_cannot_have_in_common() {
        let other = judge(|found| found.system_identifier = "8".to_owned()).unwrap_err();
        assert!(other.to_string().contains("adopt-store"), "{other}");
        let database = judge(|found| found.database_oid = 6);
        assert!(matches!(database, Err(IdentityError::OtherDatabase { .. })));
        assert_eq!(
            judge(|found| found.table_oid = 10),
            Err(IdentityError::Restored)
        );
        let older = judge(|found| found.timeline = 1);
        assert!(matches!(older, Err(IdentityError::OlderTimeline { .. })));
        let branched = StoreComparison {
            recorded: identity(),
            found: identity(),
            branched: true,
        };
        assert_eq!(branched.judge(), Err(IdentityError::Branched));
    }

    #[test]
    fn a_process_tells_another_sound_store_from_its_own() {
        let other = StoreComparison {
            recorded: identity(),
            found: identity(),
            branched: false,
        };
        let mut began_with = identity();
        assert_eq!(other.judge_as(&began_with), Ok(()));
        began_with.table_oid += 1;
        assert_eq!(other.judge_as(&began_with), Err(IdentityError::Replaced));
    }
}
