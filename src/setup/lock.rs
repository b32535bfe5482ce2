//! One process at a time sets up or tears down the stores of a database.

use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep};

use crate::config::Config;
use crate::conninfo::{Client, ConnInfo, Purpose};
use crate::terminal::tell;

/// How long to wait for another process: creating a slot waits for the source's open
/// transactions.
const WAIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

/// Held until it is dropped, which ends its session.
#[derive(Debug)]
pub(crate) struct SetupLock {
    _session: Client,
}

impl SetupLock {
    /// Waits for at most a minute while another process sets up or tears down.
    pub(crate) async fn take(
        config: &Config,
        source: &ConnInfo,
        command: &'static str,
    ) -> anyhow::Result<Self> {
        let store = config.store_conninfo(source)?;
        let client = store
            .connect(Purpose::Command(command), None)
            .await
            .with_context(|| format!("reach the store {} (store.url)", store.describe()))?;
        let end = Instant::now() + WAIT;
        let mut told = false;
        loop {
            let sql = include_str!("../../sql/queries/setup/try_lock_setup.sql");
            if client.query_one(sql, &[]).await?.get("locked") {
                return Ok(SetupLock { _session: client });
            }
            let sql = include_str!("../../sql/queries/setup/setup_lock_holder.sql");
            let holder = client.query_opt(sql, &[]).await?;
            let holder: Option<i32> = holder.map(|row| row.get("pid"));
            let holder = holder.map_or_else(String::new, |pid| format!(" (session {pid})"));
            if Instant::now() > end {
                bail!(
                    "another `walhook setup` or `walhook teardown`{holder} has worked on this database for {} s: \
                     wait for its end, and try again",
                    WAIT.as_secs()
                );
            }
            if !told {
                tell(format_args!(
                    "waiting for another `walhook setup` or `walhook teardown`{holder} to end"
                ));
                told = true;
            }
            sleep(PAUSE).await;
        }
    }
}
