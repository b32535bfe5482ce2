//! `walhook demo`: everything at work, on nothing but PostgreSQL's binaries.

use tokio_util::sync::CancellationToken;

use super::Outcome;
use super::signals::Signals;
use crate::demo::{self, Options};
use crate::duration::HumanDuration;

/// See walhook at work: a throwaway PostgreSQL, sample traffic, verified webhooks
///
/// Starts a PostgreSQL of its own from the binaries on this machine, with sample tables
/// of two tenants, and a receiver that verifies every signature. A sample application
/// writes plain SQL; each line shows what it did or what arrived of it. One endpoint
/// fails now and then, so that retries show. Ctrl-C ends it and leaves nothing behind.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  walhook demo
  walhook demo --rate 50
  # For CI: exit code 0 if everything arrived within its time and verified, else 1
  walhook demo --duration 30s --plain --port 0")]
pub struct Args {
    /// Transactions of the sample application a second
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rate: u32,
    /// Port of the API; 0 takes a free one [default: 8080, or a free one]
    #[arg(long)]
    pub port: Option<u16>,
    /// End after so long, as in 30s
    #[arg(long, value_name = "TIME")]
    pub duration: Option<HumanDuration>,
    /// No colours and no status line, also on a terminal
    #[arg(long)]
    pub plain: bool,
}

pub async fn run(args: Args) -> anyhow::Result<Outcome> {
    let mut signals = Signals::install()?;
    let shutdown = CancellationToken::new();
    let options = Options {
        rate: args.rate,
        port: args.port,
        duration: args.duration.map(|duration| duration.0),
        plain: args.plain,
    };
    let cancel = shutdown.clone();
    let watching = tokio::spawn(async move {
        signals.recv().await;
        cancel.cancel();
        // Later signals change nothing: ending at once would leave the server behind.
        loop {
            signals.recv().await;
        }
    });
    let ended = Box::pin(demo::run(options, shutdown)).await;
    watching.abort();
    ended.map(Outcome::of)
}
