//! Notices that parked changes are to be mapped again, which the operator asks for by
//! `walhook parked retry`.

use std::time::Duration;

use anyhow::Context;

use crate::db::Store;

/// How often the store is polled: the command waits for the result.
const POLL: Duration = Duration::from_secs(1);

/// Waits until it is asked for. Cancel-safe.
pub(super) async fn asked(store: &Store) {
    loop {
        tokio::time::sleep(POLL).await;
        match is_asked(store).await {
            Ok(true) => return,
            Ok(false) => {}
            // The session that holds the slot meets the same store, and logs what is wrong.
            Err(error) => {
                let error = format!("{error:#}");
                tracing::debug!(error, "cannot ask whether parked changes are to be retried");
            }
        }
    }
}

async fn is_asked(store: &Store) -> anyhow::Result<bool> {
    let client = store.get().await.context("connect to the store")?;
    let query = include_str!("../../sql/queries/app/parked_retry_is_asked.sql");
    let row = client.query_one(query, &[]).await;
    Ok(row
        .context("ask whether parked changes are to be retried")?
        .get(0))
}
