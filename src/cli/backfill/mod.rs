//! `walhook backfill`: rows that exist already, made into events.

use anyhow::{Context, bail};
use jiff::Timestamp;
use serde_json::json;

use super::signals::Signals;
use super::{Outcome, UsageError, moment};
use crate::audit::{Caller, Entry};
use crate::backfill::job::{Job, Jobs, Status};
use crate::config::Config;
use crate::conninfo::{Client, Purpose, Queries};
use crate::db::Store;
use crate::event::{BackfillId, SubscriptionId};

mod dry_run;
mod follow;
mod list;
mod order;

pub(super) use list::number;

/// Make events of rows that exist already, while the stream goes on
///
/// Reads a table in chunks and holds each row against the rules as if it were inserted as
/// it stands now: `became(status = 'paid')` is true where the status is paid, there is no
/// `previous`. Each row is taken at one place of the WAL: what changed before it is behind
/// it, what changes after it comes later. What the stream itself sends of a row meanwhile
/// is not sent a second time.
///
/// The instance that holds the slot does the work, and goes on where it was after a crash
/// or a take-over; this command asks for it and shows how far it is. The events go to the
/// subscriptions that exist when it is asked for, also to those that began after the rows
/// were written, and say in their body of which backfill they are: "backfill":"bkf_…".
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  walhook backfill --table public.payments --dry-run
  walhook backfill --table public.payments --since 2026-11-23T09:00:00Z --since-column updated_at
  walhook backfill --event payment.received --where \"amount > 100\" --rate 500
  walhook backfill --table public.leads --subscription sub_…   to that one alone
  walhook backfill --list
  walhook backfill --resume bkf_…
  walhook backfill --cancel bkf_…

Without --event it is the rules of the table that ask for inserts; a rule that asks for
updates alone takes part where it is named. --where is SQL over the table's columns, run
with your source's login in a read-only transaction under an empty search path: qualify what
is not PostgreSQL's own, or name its schema with --search-path. Ctrl-C pauses. Deliveries that are due
come first: while more than 10,000 are, a backfill waits.")]
pub struct Args {
    /// The table, as in public.payments; with --event the event's own table.
    #[arg(long, value_name = "TABLE")]
    table: Option<String>,

    /// Only these events: a rule's type or name. May be given several times.
    #[arg(long = "event", value_name = "NAME")]
    events: Vec<String>,

    /// Only rows that this SQL condition holds for.
    #[arg(long = "where", value_name = "SQL")]
    condition: Option<String>,

    /// The schemas, separated by commas, in which --where looks for operators, functions and
    /// types, after pg_catalog. Without it for nothing but pg_catalog: the operators of
    /// extensions are not found, and citext compares as text. A role that may create in
    /// these schemas may run code with your source's login.
    #[arg(long, value_name = "SCHEMAS", value_delimiter = ',', value_parser = schema, requires = "condition")]
    search_path: Vec<String>,

    /// Only rows written from then on: a time, as in 2026-11-23T12:00:00Z, or how long ago.
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Timestamp>,

    /// The column that --since looks at.
    #[arg(
        long,
        value_name = "COLUMN",
        default_value = "created_at",
        requires = "since"
    )]
    since_column: String,

    /// Send to this subscription alone.
    #[arg(long, value_name = "ID")]
    subscription: Option<SubscriptionId>,

    /// Rows a second at most.
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(i32).range(1..=1_000_000))]
    rate: i32,

    /// Rows that are read, and become events, at once.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    chunk: i32,

    /// Read all rows, say what would come of them, and send nothing.
    #[arg(long, conflicts_with_all = ["detach", "resume", "list", "cancel"])]
    dry_run: bool,

    /// Ask for it and do not wait.
    #[arg(long)]
    detach: bool,

    /// Go on with a backfill that was paused or has failed, or watch one that runs.
    #[arg(long, value_name = "ID", conflicts_with_all = NEW)]
    resume: Option<BackfillId>,

    /// List the backfills.
    #[arg(long, conflicts_with_all = NEW, conflicts_with_all = ["resume", "cancel", "detach"])]
    list: bool,

    /// End a backfill for good. What it has sent stays sent.
    #[arg(long, value_name = "ID", conflicts_with_all = NEW, conflicts_with_all = ["resume", "detach"])]
    cancel: Option<BackfillId>,
}

/// What only a new backfill takes.
const NEW: [&str; 6] = [
    "table",
    "events",
    "condition",
    "search_path",
    "since",
    "subscription",
];

/// The name of a schema that holds what people made.
fn schema(name: &str) -> Result<String, String> {
    match name.is_empty() || name.starts_with("pg_") {
        true => Err("name schemas of your own, as in public,app".to_owned()),
        false => Ok(name.to_owned()),
    }
}

pub async fn run(args: Args, config: &Config) -> anyhow::Result<Outcome> {
    // Before anything is begun: from here on Ctrl-C is ours.
    let mut signals = Signals::install().context("take over the signals")?;
    let store = Store::open(
        &config.store,
        config.source.writable_url(),
        Purpose::Command("backfill"),
    )?;
    store.check_schema().await?;
    let mut client: Client = store.connect(Purpose::Command("backfill")).await?;
    let slot = &config.source.slot;
    if args.list {
        let listed = jobs(&client, slot).list().await?;
        super::print_lines(&list::text(&listed))?;
        return Ok(Outcome::Holds);
    }
    if let Some(id) = args.cancel {
        return cancel(&mut client, slot, id).await;
    }
    let id = match args.resume {
        Some(id) => {
            resume(&mut client, slot, id).await?;
            id
        }
        None => {
            let asked = order::resolve(&args, config, &client).await?;
            if args.dry_run {
                return dry_run::run(asked, &mut signals).await;
            }
            let order = &asked.order;
            let entry = Entry {
                action: "backfill.create",
                object: Some(order.table.to_string()),
                after: Some(json!({
                    "rules": order.rules,
                    "where": order.wanted.condition,
                    "subscription_id": order.subscription.map(|id| id.to_string()),
                })),
                ..Entry::default()
            };
            let transaction = client.transaction().await?;
            let id = jobs(&transaction, slot).create(order).await?;
            Caller::of_command().commit(transaction, &entry).await?;
            id
        }
    };
    let jobs = jobs(&client, slot);
    if args.detach {
        super::print(id)?;
        follow::say_without_leader(&jobs).await?;
        return Ok(Outcome::Holds);
    }
    follow::follow(&jobs, id, &mut signals).await
}

fn jobs<'a, C>(client: &'a C, slot: &'a str) -> Jobs<'a, C> {
    Jobs { client, slot }
}

async fn find(jobs: &Jobs<'_, impl Queries>, id: BackfillId) -> anyhow::Result<Job> {
    let unknown = || {
        UsageError(format!(
            "there is no backfill {id}: see `walhook backfill --list`"
        ))
    };
    Ok(jobs.get(id).await?.ok_or_else(unknown)?)
}

/// For the audit log.
fn entry(action: &'static str, id: BackfillId) -> Entry<'static> {
    Entry {
        action,
        object: Some(id.to_string()),
        ..Entry::default()
    }
}

async fn resume(client: &mut Client, slot: &str, id: BackfillId) -> anyhow::Result<()> {
    let transaction = client.transaction().await?;
    let jobs = jobs(&transaction, slot);
    let job = find(&jobs, id).await?;
    if !jobs.resume(id).await? {
        bail!("the backfill {id} is {}: begin a new one", job.status);
    }
    let entry = entry("backfill.resume", id);
    Caller::of_command().commit(transaction, &entry).await
}

async fn cancel(client: &mut Client, slot: &str, id: BackfillId) -> anyhow::Result<Outcome> {
    let transaction = client.transaction().await?;
    let of_transaction = jobs(&transaction, slot);
    let job = find(&of_transaction, id).await?;
    if !of_transaction.cancel(id).await? {
        bail!("the backfill {id} is {} already", job.status);
    }
    let entry = entry("backfill.cancel", id);
    Caller::of_command().commit(transaction, &entry).await?;
    // Since it was asked for, a last chunk may have been taken.
    let job = find(&jobs(client, slot), id).await?;
    debug_assert_eq!(job.status, Status::Cancelled);
    super::print(format_args!("{id} is cancelled: {}", list::counts(&job)))?;
    Ok(Outcome::Holds)
}
