//! The claims' connection and statements.

use anyhow::Context;
use tokio_postgres::{Error, Statement};

use crate::conninfo::{Client, Purpose};
use crate::db::Store;

/// For whom something is due when, in ranges of subscriptions from the first ids to the last.
pub(super) const LIST_DUE: &str = include_str!("../../../sql/queries/delivery/list_due.sql");

/// A connection of the claims' own: of the pool's they would use each in turn, and each
/// backend would have its plans and its tables' state for itself, which no cache of the
/// processor holds together.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) claim: Statement,
    /// For lanes that wait for no order.
    pub(super) claim_unordered: Statement,
    pub(super) list_due: Statement,
    pub(super) members: Statement,
}

impl Session {
    pub(super) async fn open(store: &Store) -> anyhow::Result<Self> {
        let client = store.connect(Purpose::Claims).await?;
        // A claim that a crash of the store undoes is due again, as if it had not been; the
        // result of what was claimed waits for the disk, and for all that was before it.
        client.batch_execute("set synchronous_commit = off").await?;
        let claim = include_str!("../../../sql/queries/delivery/claim_due.sql");
        let unordered = include_str!("../../../sql/queries/delivery/claim_unordered.sql");
        let members = include_str!("../../../sql/queries/delivery/list_batch_members.sql");
        let prepared = async {
            Ok::<_, Error>((
                client.prepare(claim).await?,
                client.prepare(unordered).await?,
                client.prepare(LIST_DUE).await?,
                client.prepare(members).await?,
            ))
        };
        let (claim, claim_unordered, list_due, members) =
            prepared.await.context("prepare the claim")?;
        Ok(Session {
            client,
            claim,
            claim_unordered,
            list_due,
            members,
        })
    }
}
