//! Watches that what is published does the application no harm.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::conninfo::{Client, ConnInfo, Purpose};
use crate::episode::Episode;
use crate::metrics::METRICS;
use crate::source::harm::Harm;
use crate::source::publication;

/// The application's writes fail from the statement on that did it: soon is what helps.
/// But a table of ten thousand partitions takes the server some tenths of a second.
const PERIOD: Duration = Duration::from_secs(10);

/// After a look that failed: over another connection, if that was the reason.
const AGAIN: Duration = Duration::from_secs(2);

/// What fails, for the log.
const LOOK: &str = "cannot look whether publishing harms the application";

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
    let mut episode = Episode::default();
    loop {
        let looking = look(&source, &mut client, &publication);
        let rest = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            harms = looking => match harms {
                Ok(harms) => {
                    episode.succeeded(LOOK);
                    known = report(&publication, &harms, &known);
                    PERIOD
                }
                Err(error) => {
                    episode.failed(LOOK, &error);
                    AGAIN
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(rest) => {}
        }
    }
}

async fn look(
    source: &ConnInfo,
    client: &mut Option<Client>,
    publication: &str,
) -> anyhow::Result<Vec<Harm>> {
    let client = match client {
        Some(client) if !client.is_closed() => client,
        _ => client.insert(source.connect(Purpose::HarmWatch, None).await?),
    };
    publication::present_harms(client, publication).await
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
