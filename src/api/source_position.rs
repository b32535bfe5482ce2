//! From where on a new subscription receives: nothing committed after its creation is
//! missed, nothing from before is sent.

use std::time::Duration;

use anyhow::Context;

use super::State;
use super::error::Problem;
use crate::conninfo::Purpose;
use crate::lsn::Lsn;

/// How long creation waits for the source: it must say from where the log is to be sent.
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
                include_str!("../../sql/queries/current_wal_insert_lsn.sql"),
                &[],
            )
            .await
            .context("read the position of the source's log")?;
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
