//! The store at start: waited for, unless waiting cannot help.

use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::db::{self, SchemaError, Store};
use crate::episode::Episode;

/// Asks the store until it answers. Fails with an error that remains however long it waits.
/// `None` where the process was asked to stop meanwhile.
pub(super) async fn reached<T, A: Future<Output = anyhow::Result<T>>>(
    store: &Store,
    shutdown: &CancellationToken,
    ask: impl Fn() -> A,
) -> anyhow::Result<Option<T>> {
    let mut backoff = Backoff::reconnect();
    let mut episode = Episode::default();
    loop {
        let answer = tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            answer = ask() => answer,
        };
        match answer {
            Ok(answer) => {
                episode.succeeded("cannot read the store");
                return Ok(Some(answer));
            }
            Err(error) if error.is::<SchemaError>() => return Err(error),
            Err(error) if db::is_refused(&error) => {
                return Err(error.context(format!(
                    "the store {} refuses the connection: correct `store.url`, or `source.url` \
                     where that is empty, or the server's role, database, pg_hba.conf or TLS",
                    store.describe()
                )));
            }
            Err(error) if !db::is_transient(&error) => return Err(error),
            Err(error) => episode.failed("cannot read the store", &error),
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            () = tokio::time::sleep(backoff.next_delay()) => {}
        }
    }
}
