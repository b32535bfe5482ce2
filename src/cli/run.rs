//! `walhook run`.

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::Outcome;
use super::signals::Signals;
use crate::app::{self, Roles};
use crate::config::Config;

/// Follow the log and deliver, until SIGTERM or Ctrl-C
///
/// Any number of machines may run with the same configuration: one holds the slot and
/// captures, the others wait for it and deliver meanwhile. On the first SIGTERM or
/// Ctrl-C attempts in flight are finished and results recorded; on the second it ends
/// at once, which loses nothing either.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  walhook run
  walhook run --roles deliver,api            deliver and answer, never capture
  walhook --log-format json run              one JSON object a line on standard error
  RUST_LOG=walhook=debug walhook run         more of what happens

Before the first run: `walhook check`, `walhook setup`. While it runs: `walhook status`,
and http://127.0.0.1:8080/readyz, /metrics and /docs on api.listen.")]
pub struct Args {
    /// What this process does: capture, deliver, api, comma-separated.
    #[arg(long, value_name = "ROLES", default_value = "capture,deliver,api")]
    roles: Roles,
}

pub async fn run(args: Args, config: Config) -> anyhow::Result<Outcome> {
    super::source(&config)?;
    super::rules(&config)?;
    let shutdown = CancellationToken::new();
    let mut signals = Signals::install().context("take over the signals")?;
    let token = shutdown.clone();
    let watching = tokio::spawn(async move {
        signals.recv().await;
        tracing::info!(
            "asked to stop: finishing what is in flight; asked once more, it ends at once"
        );
        token.cancel();
        signals.recv().await;
        tracing::warn!("asked twice: ending at once; what was in flight is sent again later");
        std::process::exit(1);
    });
    let ended = app::run(config, args.roles, shutdown).await;
    watching.abort();
    ended.map(|()| Outcome::Holds)
}
