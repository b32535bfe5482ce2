//! From where on a new subscription receives: nothing committed after its creation is
//! missed, nothing from before is sent.

use std::time::Duration;

use anyhow::{Context, ensure};
use tokio_postgres::Row;

use super::State;
use super::error::Problem;
use crate::conninfo::{Client, Purpose};
use crate::lsn::Lsn;

/// How long creation waits for the source: it must say from where the WAL is to be sent.
const SOURCE_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the source's log ends at this moment.
pub async fn source_position(state: &State) -> Result<Lsn, Problem> {
    let read = async {
        let client = state
            .source
            .connect_writable(Purpose::Command("api"))
            .await?;
        let row = client
            .query_one(
                include_str!("../../sql/queries/replication/current_wal_insert_lsn.sql"),
                &[],
            )
            .await
            .context("read the position of the source's log")?;
        check_source(state, &client).await?;
        anyhow::Ok(row.get(0))
    };
    let error = match tokio::time::timeout(SOURCE_TIMEOUT, read).await {
        Ok(Ok(position)) => return Ok(position),
        Ok(Err(error)) => format!("{error:#}"),
        Err(_) => format!("no answer within {} s", SOURCE_TIMEOUT.as_secs()),
    };
    tracing::warn!(
        error,
        "A subscription was refused as the source does not answer"
    );
    Err(Problem::unavailable(
        "source_unavailable",
        "the source database does not answer, and it must say from where on events are sent: try again",
    ))
}

/// Fails where the source is not the one that the store's events are of: its positions say
/// nothing of that one.
async fn check_source(state: &State, source: &Client) -> anyhow::Result<()> {
    let store = state.store.get().await?;
    let recorded = store
        .query_opt(
            include_str!("../../sql/queries/api/recorded_source.sql"),
            &[],
        )
        .await
        .context("read which source the store is of")?;
    let Some(recorded) = recorded else {
        return Ok(());
    };
    let found = source
        .query_one(
            include_str!("../../sql/queries/api/source_identity.sql"),
            &[],
        )
        .await
        .context("read which source it is")?;
    let place =
        |row: &Row| -> (String, u32) { (row.get("system_identifier"), row.get("database_oid")) };
    ensure!(
        place(&recorded) == place(&found),
        "the source is not the database `{}` that `walhook setup` found: correct source.url on this \
         node, or run `walhook setup` where the source was moved",
        recorded.get::<_, String>("database_name")
    );
    Ok(())
}
