//! The command line: one file a command.
//!
//! Exit codes: 0, what was asked holds; 1, it does not; 2, bad usage or configuration.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use jiff::Timestamp;

use crate::config::{Config, ConfigError, UsageError};
use crate::conninfo::ConnInfoError;
use crate::duration::HumanDuration;
use crate::telemetry::{self, LogFormat};
use crate::terminal::{chain, tell_lines};

pub mod adopt_store;
pub mod backfill;
pub mod check;
pub mod demo;
pub mod explain;
pub mod init;
pub mod listen;
mod output;
pub mod parked;
pub mod portal;
pub mod replay;
pub mod rotate_key;
pub mod run;
pub mod setup;
pub mod signals;
pub mod status;
pub mod teardown;
pub mod tenant;
mod tenant_rows;
pub mod token;

use output::{print, print_file, print_json, print_lines, shown};

/// Signed webhooks from a PostgreSQL write-ahead log, without touching the application.
///
/// walhook attaches to an existing PostgreSQL (14 or later), follows its write-ahead log,
/// turns committed row changes into business events by rules in TOML, and delivers each
/// event, signed, to the subscribers of the tenant whose row it was.
#[derive(Debug, Parser)]
#[command(name = "walhook", version = env!("WALHOOK_VERSION"), max_term_width = 100, after_help = NEXT_STEPS)]
struct Cli {
    /// The configuration file. Default: walhook.toml, where there is one; every key can
    /// also be given as WALHOOK_…, as in WALHOOK_SOURCE__URL for source.url.
    #[arg(long, global = true, env = "WALHOOK_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// How messages are written to standard error.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    log_format: LogFormat,

    #[command(subcommand)]
    command: Command,
}

const NEXT_STEPS: &str = "\
See it at work:
  walhook demo                       a throwaway PostgreSQL, sample traffic, a receiver

Attach to your own database:
  walhook init URL --table T         write a walhook.toml with rules for those tables
  walhook setup --print-sql          one script for a DBA: roles, rights, publication
  walhook check                      what must hold, and the SQL that fixes what does not
  walhook setup                      make the store, the publication and the slot
  walhook token create --tenant acme a token for that tenant's API calls
  walhook portal-link acme           a link that signs in to that tenant's console
  walhook run                        follow the WAL and deliver
  walhook tenant list                the tenants that were met; erase all that is stored of one
  walhook explain                    which changes make which events for whom, and why not
  walhook backfill                   events of rows that exist already
  walhook replay                     stored events once more, to one subscription
  walhook parked list                changes that could not be sent: why; retry or discard them
  walhook rotate-key                 change the key that the store is encrypted with
  walhook adopt-store                use a store that was copied or restored

Exit codes: 0 what was asked holds, 1 it does not, 2 bad usage or configuration.
`walhook help COMMAND` has examples of each.";

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Init(init::Args),
    Check(check::Args),
    Setup(setup::Args),
    Teardown(teardown::Args),
    #[command(subcommand)]
    Token(token::Command),
    PortalLink(portal::LinkArgs),
    #[command(subcommand)]
    PortalSession(portal::SessionCommand),
    #[command(subcommand)]
    Tenant(tenant::Command),
    Demo(demo::Args),
    Listen(listen::Args),
    Status(status::Args),
    Explain(explain::Args),
    Backfill(backfill::Args),
    Replay(replay::Args),
    #[command(subcommand)]
    Parked(parked::Command),
    RotateKey(rotate_key::Args),
    AdoptStore(adopt_store::Args),
}

/// Whether what was asked holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Holds,
    DoesNotHold,
}

impl Outcome {
    pub fn of(holds: bool) -> Self {
        match holds {
            true => Outcome::Holds,
            false => Outcome::DoesNotHold,
        }
    }
}

const BAD_USAGE: u8 = 2;

/// Runs the command of this process's arguments.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(shown) => {
            // Help and version come this way too, to standard output and with code 0.
            let printed = shown.print();
            return match (shown.exit_code(), printed) {
                (0, Ok(())) => ExitCode::SUCCESS,
                _ => ExitCode::from(BAD_USAGE),
            };
        }
    };
    let log_format = match cli.command {
        // Its screen is full of what happens: its log goes to a file, errors to people.
        Command::Demo(_) => LogFormat::Text,
        _ => {
            telemetry::install(cli.log_format);
            cli.log_format
        }
    };
    match execute(cli) {
        Ok(Outcome::Holds) => ExitCode::SUCCESS,
        Ok(Outcome::DoesNotHold) => ExitCode::FAILURE,
        Err(error) => {
            match log_format {
                LogFormat::Text => tell_lines(&shown(&error)),
                LogFormat::Json => tracing::error!("{}", chain(&error)),
            }
            match is_usage(&error) {
                true => ExitCode::from(BAD_USAGE),
                false => ExitCode::FAILURE,
            }
        }
    }
}

/// Whether the configuration or the arguments are at fault, not what they speak of.
fn is_usage(error: &anyhow::Error) -> bool {
    // What is wrong may be several things, beneath a `UsageError` that says of what.
    error.is::<UsageError>()
        || error.chain().any(|cause| {
            let unreadable = matches!(
                cause.downcast_ref(),
                Some(
                    ConnInfoError::Syntax(_)
                        | ConnInfoError::Unknown { .. }
                        | ConnInfoError::Unsupported { .. }
                        | ConnInfoError::Invalid { .. }
                        | ConnInfoError::NoUser(_)
                )
            );
            unreadable || cause.is::<ConfigError>() || cause.is::<UsageError>()
        })
}

fn execute(cli: Cli) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let config = || load(cli.config.as_deref());
    let ended = runtime.block_on(async {
        match cli.command {
            Command::Run(args) => {
                let file = file(cli.config.as_deref());
                Box::pin(run::run(args, Config::load(file.as_deref())?, file)).await
            }
            Command::Init(args) => Box::pin(init::run(args)).await,
            Command::Check(args) => Box::pin(check::run(args, &config()?)).await,
            Command::Setup(args) => Box::pin(setup::run(args, &config()?)).await,
            Command::Teardown(args) => Box::pin(teardown::run(args, &config()?)).await,
            Command::Token(command) => Box::pin(token::run(command, &config()?)).await,
            Command::PortalLink(args) => Box::pin(portal::link(args, &config()?)).await,
            Command::PortalSession(command) => Box::pin(portal::session(command, &config()?)).await,
            Command::Tenant(command) => Box::pin(tenant::run(command, &config()?)).await,
            Command::Demo(args) => Box::pin(demo::run(args)).await,
            Command::Listen(args) => Ok(Outcome::of(Box::pin(listen::run(args)).await?)),
            Command::Status(args) => Box::pin(status::run(args, &config()?)).await,
            Command::Explain(args) => Box::pin(explain::run(args, &config()?)).await,
            Command::Backfill(args) => Box::pin(backfill::run(args, &config()?)).await,
            Command::Replay(args) => Box::pin(replay::run(args, &config()?)).await,
            Command::Parked(command) => Box::pin(parked::run(command, &config()?)).await,
            Command::RotateKey(args) => Box::pin(rotate_key::run(args, &config()?)).await,
            Command::AdoptStore(args) => Box::pin(adopt_store::run(args, &config()?)).await,
        }
    });
    // A name that is being looked up, for a connection that is not wanted any more, must not
    // keep the process.
    runtime.shutdown_background();
    ended
}

/// The configuration: the named file, else `walhook.toml` where there is one, else the
/// environment alone.
fn load(named: Option<&Path>) -> Result<Config, ConfigError> {
    Config::load(file(named).as_deref())
}

fn file(named: Option<&Path>) -> Option<PathBuf> {
    const USUAL: &str = "walhook.toml";
    let usual = || Path::new(USUAL).exists().then_some(Path::new(USUAL));
    named.or_else(usual).map(Path::to_owned)
}

/// A time as such, or how long ago it was.
fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let ago: HumanDuration = text
        .parse()
        .map_err(|_| "expected a time, as in 2026-11-23T12:00:00Z, or how long ago, as in 2h")?;
    Timestamp::now()
        .checked_sub(ago.0)
        .map_err(|_| "that is too long ago".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_before_or_after_the_command() {
        for arguments in [
            ["walhook", "--config", "a.toml", "status"],
            ["walhook", "status", "--config", "a.toml"],
        ] {
            let cli = Cli::try_parse_from(arguments).unwrap();
            assert_eq!(cli.config.as_deref(), Some(Path::new("a.toml")));
        }
    }

    #[test]
    fn a_moment_is_a_time_or_how_long_ago() {
        let at = |text: &str| moment(text).unwrap();
        assert_eq!(at("1970-01-01T00:00:01Z").as_second(), 1);
        let hour_ago = Timestamp::now().as_second() - at("1h").as_second();
        assert!((3599..=3601).contains(&hour_ago), "{hour_ago}");
        for text in ["", "yesterday", "1w", "999999999d"] {
            assert!(moment(text).is_err(), "{text}");
        }
    }
}
