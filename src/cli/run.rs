//! `walhook run`.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Outcome;
use crate::app::{self, Roles};
use crate::config::Config;

/// Follow the log and deliver, until SIGTERM or SIGINT
///
/// Any number of machines may run with the same configuration: one holds the slot and
/// captures, the others wait for it and deliver meanwhile. On the first SIGTERM or
/// SIGINT attempts in flight are finished and results recorded; on the second it ends
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
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = shutdown.clone();
    let watching = tokio::spawn(async move {
        let mut received = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        let first = received().await;
        tracing::info!("{first}: finishing what is in flight; once more ends at once");
        token.cancel();
        let second = received().await;
        tracing::warn!("{second} again: ending at once; what was in flight is sent again later");
        std::process::exit(1);
    });
    let ended = app::run(config, args.roles, shutdown).await;
    watching.abort();
    ended.map(|()| Outcome::Holds)
}
