//! `walhook teardown`.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context, bail};

use super::{Outcome, UsageError};
use crate::config::Config;
use crate::conninfo::{Client, Purpose};
use crate::db::quote_identifier;
use crate::preflight::StoreState;
use crate::replication::slot::{self, SlotState};
use crate::setup::SetupLock;
use crate::source::server::Server;
use crate::source::{self, publication};
use crate::terminal::{Lines, tell};

/// Remove what setup made from the source; keep the store unless told otherwise
///
/// Without an option: drops the slot, forgets the recorded progress and drops the
/// publication. Events, deliveries and subscriptions stay in the store. What is
/// committed from then until the next `walhook setup` is not delivered.
///
/// Refuses while the slot is in use: stop `walhook run` first.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  walhook teardown                  asks before it does anything
  walhook teardown --slot --yes     the slot and its progress only
  walhook teardown --store --yes    everything, with all events and subscriptions

The roles are left, and a publication that belongs to another role than walhook's: it takes a right of a
DBA's to drop them. /docs/backup has the SQL.")]
pub struct Args {
    /// Drop the slot and the recorded progress only, unless --publication is given too.
    #[arg(long)]
    slot: bool,

    /// Drop the publication only, unless --slot is given too. Needs the slot to be gone.
    #[arg(long)]
    publication: bool,

    /// Drop the store's schema too: events, deliveries, subscriptions, tokens.
    #[arg(long, conflicts_with_all = ["slot", "publication"])]
    store: bool,

    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

pub async fn run(args: Args, config: &Config) -> anyhow::Result<Outcome> {
    let conninfo = config.source_conninfo()?;
    let client = source::connect(&conninfo, Purpose::Command("teardown")).await?;
    let _lock = SetupLock::take(config, &conninfo, "teardown").await?;
    let store = StoreState::read(config, Purpose::Command("teardown")).await?;
    let everything = !args.slot && !args.publication;
    let slot = slot::inspect(&client, &config.source.slot).await?;
    let version = Server::read(&client).await?.version_number;
    let publication = publication::inspect(&client, &config.source.publication, version).await?;
    let asked = everything || args.publication;
    let publication = publication.filter(|_| asked);
    let (owned, foreign) = match publication {
        Some(publication) => (publication.owned, !publication.owned),
        None => (false, false),
    };
    let plan = Plan {
        slot: (everything || args.slot).then_some(slot.as_ref()).flatten(),
        progress: (everything || args.slot) && store.progress.is_some(),
        publication: owned,
        store: args.store && store.role.schema_exists,
    };
    plan.refuse(config, slot.as_ref())?;
    let steps = plan.describe(config);
    if steps.is_empty() && !foreign {
        super::print("There is nothing to remove.")?;
        return Ok(Outcome::Holds);
    }
    if !steps.is_empty() && !args.yes && !confirmed(&steps)? {
        super::print("Nothing was changed.")?;
        return Ok(Outcome::DoesNotHold);
    }
    let writable = source::connect_writable(&conninfo, "teardown").await?;
    plan.execute(config, &client, &writable, &store).await?;
    let mut done = Lines::default();
    for step in &steps {
        done.line(format_args!("removed  {step}"));
    }
    super::print_lines(&done)?;
    if foreign {
        let name = &config.source.publication;
        tell(format_args!(
            "The publication `{name}` belongs to another role and is left: have its owner run `drop publication {};`",
            quote_identifier(name)
        ));
    }
    Ok(Outcome::of(!foreign))
}

/// What will be removed, each only where it exists.
struct Plan<'a> {
    slot: Option<&'a SlotState>,
    progress: bool,
    publication: bool,
    store: bool,
}

impl Plan<'_> {
    fn refuse(&self, config: &Config, slot: Option<&SlotState>) -> anyhow::Result<()> {
        let name = &config.source.slot;
        if let Some(pid) = self.slot.and_then(|slot| slot.active_pid) {
            bail!(
                "the slot `{name}` is in use by the walsender with pid {pid}: stop `walhook run` first"
            );
        }
        if let (true, None, Some(_)) = (self.publication, self.slot, slot) {
            bail!(
                "the slot `{name}` needs the publication `{}` for what it has yet to deliver: add --slot",
                config.source.publication
            );
        }
        Ok(())
    }

    fn describe(&self, config: &Config) -> Vec<String> {
        let mut steps = Vec::new();
        if self.slot.is_some() {
            steps.push(format!("the slot `{}`", config.source.slot));
        }
        if self.progress {
            steps.push(format!(
                "the recorded progress of the slot `{}`",
                config.source.slot
            ));
        }
        if self.publication {
            steps.push(format!("the publication `{}`", config.source.publication));
        }
        if self.store {
            steps.push(format!(
                "the store's schema `{}` with all events, deliveries, subscriptions and tokens",
                config.store.schema
            ));
        }
        steps
    }

    /// The slot first: the others are nothing without it, and it retains the WAL.
    async fn execute(
        &self,
        config: &Config,
        client: &Client,
        writable: &Client,
        state: &StoreState,
    ) -> anyhow::Result<()> {
        if self.slot.is_some() {
            slot::drop(client, &config.source.slot).await?;
        }
        let store = state.store.get().await.context("reach the store")?;
        if self.progress {
            let delete = include_str!("../../sql/queries/cli/delete_slot.sql");
            let deleted = store.execute(delete, &[&config.source.slot]).await;
            deleted.context("delete the recorded progress, and the shadow of old values")?;
        }
        if self.publication {
            let name = quote_identifier(&config.source.publication);
            writable
                .batch_execute(&format!("drop publication if exists {name}"))
                .await
                .with_context(|| {
                    format!("drop the publication (have its owner run `drop publication {name};`)")
                })?;
        }
        if self.store {
            let schema = quote_identifier(&config.store.schema);
            store
                .batch_execute(&format!("drop schema if exists {schema} cascade"))
                .await
                .with_context(|| format!("drop the store's schema {schema}"))?;
        }
        Ok(())
    }
}

/// Asks on the terminal; without one there is nobody to ask.
fn confirmed(steps: &[String]) -> anyhow::Result<bool> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        let message = format!(
            "would remove {}: pass --yes, as nobody can be asked here",
            steps.join(", ")
        );
        return Err(UsageError(message).into());
    }
    let mut out = io::stdout();
    super::print(format_args!("This removes {}.", steps.join(", ")))?;
    write!(out, "Go on? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
