//! The claims' connection and statements.

use anyhow::Context;
use tokio_postgres::{Client, Error, Statement};

use crate::db::Store;

/// A connection of the claims' own: of the pool's they would use each in turn, and each
/// backend would have its plans and its tables' state for itself, which no cache of the
/// processor holds together.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) claim: Statement,
    pub(super) next_due: Statement,
    pub(super) members: Statement,
}

impl Session {
    pub(super) async fn open(store: &Store) -> anyhow::Result<Self> {
        let client = store.connect("walhook claimer").await?;
        let claim = include_str!("../../../sql/queries/claim_due.sql");
        let next_due = include_str!("../../../sql/queries/next_due.sql");
        let members = include_str!("../../../sql/queries/list_batch_members.sql");
        let prepared = async {
            Ok::<_, Error>((
                client.prepare(claim).await?,
                client.prepare(next_due).await?,
                client.prepare(members).await?,
            ))
        };
        let (claim, next_due, members) = prepared.await.context("prepare the claim")?;
        Ok(Session {
            client,
            claim,
            next_due,
            members,
        })
    }
}
