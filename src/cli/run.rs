//! `walhook run`.

use std::path::PathBuf;

use anyhow::Context;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Outcome;
use super::signals::{HangUp, HangUpMeans, Signals};
use crate::app::{self, Roles};
use crate::config::{Config, ConfigError};

/// Follow the WAL and deliver, until SIGTERM or Ctrl-C
///
/// Any number of machines may run with the same configuration: one holds the slot and
/// captures, the others wait for it and deliver meanwhile. On the first SIGTERM or
/// Ctrl-C attempts in flight are finished and results recorded; on the second it ends
/// at once, which loses nothing either.
///
/// On SIGHUP the configuration is read again and its rules take over between two
/// transactions. Where anything is wrong with them the old ones stay, and the log says
/// what, with file, line and key. Other settings need a restart.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  walhook run
  walhook run --roles deliver,api            deliver and answer, never capture
  walhook --log-format json run              one JSON object a line on standard error
  RUST_LOG=walhook=debug walhook run         more of what happens
  kill -HUP $(pidof walhook)                 read the rules again

Before the first run: `walhook check`, `walhook setup`. While it runs: `walhook status`,
and http://127.0.0.1:8080/readyz, /metrics and /docs on api.listen.")]
pub struct Args {
    /// What this process does: capture, deliver, api, comma-separated.
    #[arg(long, value_name = "ROLES", default_value = "capture,deliver,api")]
    roles: Roles,
}

/// `file`: what was loaded as `config`, to be read again.
pub async fn run(args: Args, config: Config, file: Option<PathBuf>) -> anyhow::Result<Outcome> {
    config.source_conninfo()?;
    config.rules_to_watch()?;
    for (file, mode) in config.exposed_secret_files() {
        tracing::warn!(
            key = file.key,
            path = %file.path.display(),
            mode = format!("{mode:04o}"),
            "a file that holds a secret may be read by others: run `chmod 600` on it"
        );
    }
    let shutdown = CancellationToken::new();
    let mut signals = Signals::without_hang_up().context("take over the signals")?;
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
    let hang_up = HangUp::install().context("take over SIGHUP")?;
    let (requests, reloads) = mpsc::channel(1);
    let reloading = tokio::spawn(read_again(hang_up, file, requests, shutdown.clone()));
    let ended = app::run_reloading(config, args.roles, shutdown, reloads).await;
    reloading.abort();
    watching.abort();
    ended.map(|()| Outcome::Holds)
}

/// Reads the configuration at each SIGHUP.
async fn read_again(
    mut hang_up: HangUp,
    file: Option<PathBuf>,
    requests: mpsc::Sender<Result<Config, ConfigError>>,
    shutdown: CancellationToken,
) {
    loop {
        match hang_up.recv().await {
            HangUpMeans::Reload => {}
            HangUpMeans::End => {
                tracing::info!("the terminal is closed: finishing what is in flight");
                shutdown.cancel();
                return;
            }
        }
        if requests.send(Config::load(file.as_deref())).await.is_err() {
            return;
        }
    }
}
