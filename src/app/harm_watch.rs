//! Watches that what is published does the application no harm.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::cli::harm::Harm;
use crate::cli::publication;
use crate::conninfo::{Client, ConnInfo, Purpose};
use crate::metrics::METRICS;

/// The application's writes fail from the statement on that did it: soon is what helps.
/// But a table of ten thousand partitions takes the server some tenths of a second.
const PERIOD: Duration = Duration::from_secs(10);

/// Looks until `stop` whether some published table, or a partition of it, has come to
/// make the application's own writes fail: an attached partition without a key, a key
/// that was dropped. Says so once, and once when it is over.
pub(super) async fn run(
    source: ConnInfo,
    publication: String,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut client: Option<Client> = None;
    let mut known = BTreeSet::new();
    loop {
        if client.as_ref().is_none_or(Client::is_closed) {
            client = source.connect(Purpose::HarmWatch, None).await.ok();
        }
        if let Some(client) = &client {
            match publication::present_harms(client, &publication).await {
                Ok(harms) => known = report(&publication, &harms, &known),
                Err(error) => {
                    tracing::debug!(
                        error = format!("{error:#}"),
                        "cannot look at what is published"
                    );
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

/// The tables that are harmed now; `known` were before.
fn report(publication: &str, harms: &[Harm], known: &BTreeSet<String>) -> BTreeSet<String> {
    let now: BTreeSet<String> = harms.iter().map(|harm| harm.table.to_string()).collect();
    for harm in harms {
        let table = harm.table.to_string();
        if !known.contains(&table) {
            tracing::error!(
                table,
                publication,
                mend = harm.mend.join(" "),
                "this table must not be published as it is: {}",
                harm.why
            );
        }
    }
    for table in known.difference(&now) {
        tracing::info!(
            table,
            publication,
            "publishing this table does no harm any more"
        );
    }
    METRICS
        .harmed_tables
        .set(i64::try_from(now.len()).unwrap_or(i64::MAX));
    now
}
