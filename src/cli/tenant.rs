//! `walhook tenant`.

use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use serde::Serialize;

use super::backfill::number;
use super::{Outcome, UsageError};
use crate::audit::Caller;
use crate::config::Config;
use crate::conninfo::{Client, Purpose};
use crate::db::Store;
use crate::tenant::{self, Erased, Erasure, StoredTenant};
use crate::terminal::{Lines, tell};

/// Tenants that are read at once.
const PAGE: i64 = 1_000;

/// List the tenants, or erase all that is stored of one
#[derive(Debug, clap::Subcommand)]
#[command(after_long_help = "\
Examples:
  walhook tenant list
  walhook tenant erase acme              what would be erased
  walhook tenant erase acme --confirm --reason 'contract ended'")]
pub enum Command {
    /// List the tenants that were met: by an event, a call of the API, a token or a portal link
    List {
        /// Print them as JSON.
        #[arg(long)]
        json: bool,
    },
    Erase(EraseArgs),
}

/// Erase all that the store has of a tenant
///
/// Its tokens and subscriptions first, then its events, deliveries, attempts and everything else.
/// What stays is the entry of the audit log: that it was erased, when, by whom and why. It runs
/// in small transactions, beside walhook, and goes on where it was when it is run again after an
/// interruption. Without --confirm this says how many rows there are, and erases none.
///
/// First have the application delete the tenant's rows: events of changes that come later are
/// stored again. The shadow's copies of rows go with the application's rows, and parked changes,
/// which have no tenant, with `walhook parked discard`. Backups of the store have all of it.
///
/// Exit code 0: nothing of it is left. 1: --confirm is missing, or rows of it keep coming.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  walhook tenant erase acme
  walhook tenant erase acme --confirm --reason 'request of 30 November'")]
pub struct EraseArgs {
    /// The tenant's id, as `walhook tenant list` shows it.
    tenant: String,

    /// Erase it.
    #[arg(long)]
    confirm: bool,

    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// After a call has met its limit, until no process admits its token any more either.
const CALL_ENDED: Duration = Duration::from_secs(5);

pub async fn run(command: Command, config: &Config) -> anyhow::Result<Outcome> {
    let store = Store::open(
        &config.store,
        config.source.writable_url(),
        Purpose::Command("tenant"),
    )?;
    store.check_schema().await?;
    let mut client = store.get().await.context("reach the store")?;
    match command {
        Command::List { json } => list(&client, json).await,
        Command::Erase(args) => {
            let called = config.api.request_timeout.0 + CALL_ENDED;
            let settle = config.delivery.settled_after().max(called);
            erase(&mut client, &args, settle).await
        }
    }
}

/// A tenant as JSON shows it.
#[derive(Serialize)]
struct Shown<'a> {
    tenant_id: &'a str,
    first_seen: Timestamp,
    name: Option<&'a str>,
    subscriptions: i64,
    tokens: i64,
    erased_at: Option<Timestamp>,
}

impl<'a> From<&'a StoredTenant> for Shown<'a> {
    fn from(tenant: &'a StoredTenant) -> Self {
        Shown {
            tenant_id: &tenant.id,
            first_seen: tenant.first_seen,
            name: tenant.name.as_deref(),
            subscriptions: tenant.subscriptions,
            tokens: tenant.tokens,
            erased_at: tenant.erased_at,
        }
    }
}

async fn list(client: &Client, json: bool) -> anyhow::Result<Outcome> {
    let mut tenants: Vec<StoredTenant> = Vec::new();
    loop {
        let after = tenants.last().map_or("", |tenant| &tenant.id);
        let page = tenant::list(client, after, PAGE).await;
        let page = page.context("list the tenants")?;
        if page.is_empty() {
            break;
        }
        tenants.extend(page);
    }
    if json {
        let shown: Vec<Shown<'_>> = tenants.iter().map(Shown::from).collect();
        super::print_json(&shown)?;
        return Ok(Outcome::Holds);
    }
    let mut lines = Lines::default();
    if tenants.is_empty() {
        lines.line("No tenant was met yet: `walhook token create --tenant …` makes one known.");
    }
    for tenant in &tenants {
        let erased = tenant.erased_at.map_or(String::new(), |since| {
            format!("  being erased since {since:.0}")
        });
        lines.line(format_args!(
            "{}  {} subscription(s)  {} token(s)  since {:.0}{erased}",
            tenant.id, tenant.subscriptions, tenant.tokens, tenant.first_seen
        ));
    }
    super::print_lines(&lines)?;
    Ok(Outcome::Holds)
}

async fn erase(client: &mut Client, args: &EraseArgs, settle: Duration) -> anyhow::Result<Outcome> {
    if args.tenant.is_empty() {
        return Err(UsageError("the tenant's id is empty".to_owned()).into());
    }
    let caller = Caller::of_command();
    let mut erasure = Erasure {
        client,
        tenant: &args.tenant,
        caller: &caller,
        reason: args.reason.as_deref(),
        settle,
    };
    if !args.confirm {
        return announce(&erasure).await;
    }
    let pass_ended = |rows| tell(format_args!("{} row(s) were erased", number(rows)));
    let erased = erasure.run(pass_ended).await?;
    report(&args.tenant, &erased)
}

/// What would be erased.
async fn announce(erasure: &Erasure<'_>) -> anyhow::Result<Outcome> {
    let found = erasure.count().await?;
    let mut lines = Lines::default();
    for table in &found {
        lines.line(format_args!("{:>12}  {}", number(table.rows), table.table));
    }
    if found.is_empty() {
        lines.line(format_args!(
            "The store has no row of `{}`.",
            erasure.tenant
        ));
    } else {
        lines.line("Nothing was erased. To erase these rows for good, add --confirm.");
    }
    super::print_lines(&lines)?;
    Ok(Outcome::of(found.is_empty()))
}

fn report(tenant: &str, erased: &Erased) -> anyhow::Result<Outcome> {
    let mut lines = Lines::default();
    let rows = number(erased.rows);
    match erased.is_complete {
        true => lines.line(format_args!(
            "{rows} row(s) of `{tenant}` were erased: nothing of it is left but the entry of the audit log."
        )),
        false => lines.line(format_args!(
            "{rows} row(s) of `{tenant}` were erased, and more keep coming: have the application delete its rows, and run this again."
        )),
    }
    if erased.parked > 0 {
        lines.line(format_args!(
            "{} parked change(s) hold its id somewhere, and have no tenant of their own: see `walhook parked list`.",
            number(erased.parked)
        ));
    }
    super::print_lines(&lines)?;
    Ok(Outcome::of(erased.is_complete))
}
