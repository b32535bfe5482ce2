//! `walhook parked`: the changes that matched a rule and could not be sent.

use anyhow::Context;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::backfill::number;
use super::status::parked_change;
use super::{Outcome, moment};
use crate::audit::{Caller, Entry};
use crate::config::Config;
use crate::conninfo::{Client, Purpose};
use crate::db::Store;
use crate::delivery::problems::{ParkedChange, ParkedChanges, ParkedFilter};
use crate::terminal::Lines;

mod retry;

/// Show, retry or discard the changes that matched a rule and could not be sent
///
/// A change is parked where its event cannot be made: it has no tenant (unroutable), an
/// expression of the rule fails on it (unmappable), its bytes cannot be decoded
/// (undecodable), or the rule needs a value of a row above source.max_row (oversized).
/// Capture goes on. Parked changes are kept for store.retention.
#[derive(Debug, clap::Subcommand)]
#[command(after_long_help = "\
Examples:
  walhook parked list
  walhook parked list --rule payment.received --since 1d
  walhook parked retry --rule payment.received      once the rule is corrected
  walhook parked discard --reason unroutable --confirm

Exit codes: 0 what was asked holds, 1 it does not, 2 bad usage or configuration.")]
pub enum Command {
    List(ListArgs),
    Retry(RetryArgs),
    Discard(DiscardArgs),
}

/// Which of the parked changes; all of them by default.
#[derive(Debug, clap::Args)]
struct Chosen {
    /// Only those of this rule: its name, or its type where it has no name.
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,

    /// Only those of this table, as in public.payments.
    #[arg(long, value_name = "TABLE")]
    relation: Option<String>,

    /// Only those that were parked for this reason.
    #[arg(long, value_enum, value_name = "REASON")]
    reason: Option<Reason>,

    /// Only those that were parked from then on: a time, as in 2026-11-23T12:00:00Z, or how
    /// long ago, as in 2h.
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Reason {
    Unroutable,
    Unmappable,
    Undecodable,
    Oversized,
}

/// List parked changes, the newest first, each with its reason
///
/// Exit code 0, whether there are any or not.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  walhook parked list
  walhook parked list --relation public.payments --reason unmappable --limit 10
  walhook parked list --json | jq '.changes[].detail'")]
pub struct ListArgs {
    #[command(flatten)]
    chosen: Chosen,

    /// List at most so many.
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,

    /// Print them as JSON.
    #[arg(long)]
    json: bool,
}

/// Map parked changes again, by the rules as they are now
///
/// The instance that holds the slot does it between two transactions; this waits until it
/// has. A change that makes an event is sent, under the id that it would have had at first;
/// one that its rule no longer matches is forgotten; one that still cannot be sent stays,
/// with the present reason. Changing a rule does the same for that rule, on reload.
///
/// Exit code 0: none of them is parked any more. 1: some stay, and the text says why; or
/// they were not mapped within --timeout, and will be once an instance holds the slot.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  walhook parked retry
  walhook parked retry --rule payment.received --timeout 10m")]
pub struct RetryArgs {
    #[command(flatten)]
    chosen: Chosen,

    /// Wait at most for so long.
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    timeout: crate::duration::HumanDuration,
}

/// Delete parked changes that are not to be sent
///
/// What is deleted is never sent, and is no problem in `walhook status` any more. Without
/// --confirm this says how many there are, and deletes none.
///
/// Exit code 0: none of them is left. 1: --confirm is missing.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  walhook parked discard --reason unroutable                how many
  walhook parked discard --reason unroutable --confirm
  walhook parked discard --rule payment.received --since 2h --confirm")]
pub struct DiscardArgs {
    #[command(flatten)]
    chosen: Chosen,

    /// Delete them.
    #[arg(long)]
    confirm: bool,
}

pub async fn run(command: Command, config: &Config) -> anyhow::Result<Outcome> {
    let store = Store::open(
        &config.store,
        config.source.writable_url(),
        Purpose::Command("parked"),
    )?;
    store.check_schema().await?;
    let mut client = store.get().await.context("reach the store")?;
    match command {
        Command::List(args) => list(&client, &args).await,
        Command::Retry(args) => retry::run(&mut client, &config.source.slot, &args).await,
        Command::Discard(args) => discard(&mut client, &args).await,
    }
}

impl Chosen {
    /// For the audit log.
    fn entry(&self, action: &'static str) -> Entry<'static> {
        let ParkedFilter {
            rule,
            relation,
            reason,
            since,
        } = self.filter();
        Entry {
            action,
            object: Some("parked_changes".to_owned()),
            after: Some(json!({
                "rule": rule, "relation": relation, "reason": reason, "since": since,
            })),
            ..Entry::default()
        }
    }

    fn filter(&self) -> ParkedFilter<'_> {
        ParkedFilter {
            rule: self.rule.as_deref(),
            relation: self.relation.as_deref(),
            reason: self.reason.map(|reason| match reason {
                Reason::Unroutable => "unroutable",
                Reason::Unmappable => "unmappable",
                Reason::Undecodable => "undecodable",
                Reason::Oversized => "oversized",
            }),
            since: self.since,
        }
    }
}

#[derive(Debug, Serialize)]
struct Listed {
    /// How many match, listed or not.
    total: i64,
    changes: Vec<ParkedChange>,
}

async fn list(client: &Client, args: &ListArgs) -> anyhow::Result<Outcome> {
    let found = ParkedChanges::read(client, &args.chosen.filter(), i64::from(args.limit)).await?;
    let listed = Listed {
        total: found.total,
        changes: found.newest,
    };
    if args.json {
        super::print_json(&listed)?;
        return Ok(Outcome::Holds);
    }
    let mut lines = Lines::default();
    for change in &listed.changes {
        lines.line(parked_change(change));
    }
    let shown = i64::try_from(listed.changes.len()).unwrap_or(i64::MAX);
    match listed.total - shown {
        _ if listed.total == 0 => lines.line("No parked change matches."),
        0 => {}
        rest => lines.line(format_args!("and {} more: see --limit", number(rest))),
    }
    super::print_lines(&lines)?;
    Ok(Outcome::Holds)
}

async fn discard(client: &mut Client, args: &DiscardArgs) -> anyhow::Result<Outcome> {
    let filter = args.chosen.filter();
    if !args.confirm {
        let count = ParkedChanges::read(client, &filter, 1).await?.total;
        if count == 0 {
            super::print("No parked change matches.")?;
            return Ok(Outcome::Holds);
        }
        super::print(format_args!(
            "{} parked change(s) match. To delete them, so that they are never sent, add --confirm.",
            number(count)
        ))?;
        return Ok(Outcome::DoesNotHold);
    }
    let query = include_str!("../../../sql/queries/cli/discard_parked_changes.sql");
    let entry = args.chosen.entry("parked.discard");
    let transaction = client.transaction().await?;
    let deleted = transaction.execute(query, &filter.parameters()).await;
    let deleted = deleted.context("delete parked changes")?;
    if deleted > 0 {
        Caller::of_command().commit(transaction, &entry).await?;
    }
    super::print(format_args!(
        "{} parked change(s) were deleted.",
        number(i64::try_from(deleted).unwrap_or(i64::MAX))
    ))?;
    Ok(Outcome::Holds)
}
