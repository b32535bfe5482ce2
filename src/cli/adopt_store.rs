//! `walhook adopt-store`.

use anyhow::Context;
use serde_json::json;

use super::Outcome;
use crate::audit::{Caller, Entry};
use crate::config::Config;
use crate::conninfo::{Client, Purpose};
use crate::db::{Store, StoreIdentity, StoreRecord};
use crate::terminal::Lines;

/// Use a copy of a store from now on, or one that lacks its last commits
///
/// A store keeps on record which PostgreSQL system and database it was made in. Where it
/// finds itself in another (a dump that was restored, a database that was copied, a server
/// that was upgraded by pg_upgrade), walhook captures and sends nothing: the original may
/// still run, and both would send the same events to the same endpoints. The same holds
/// where its server was failed over, or restored, to a state without its last commits.
///
/// Without --confirm this shows what the store says of itself, where it is, and what is
/// pending in it. With --confirm the store is used as it is found: what is pending is sent.
///
/// To use the copy for tests, send nothing of it: delete its subscriptions first, or set
/// them inactive. A copy of the disk, or of the whole server, looks like the original and is
/// not told apart.
///
/// Exit code 0: the store is in use. 1: it waits to be adopted.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  walhook adopt-store               what it is, and what would be sent
  walhook adopt-store --confirm     the original is gone, this store takes its place

Next: `walhook run`.")]
pub struct Args {
    /// Record that this store is the one to use. Only where the original sends no more.
    #[arg(long)]
    confirm: bool,
}

pub async fn run(args: Args, config: &Config) -> anyhow::Result<Outcome> {
    let store = Store::open(
        &config.store,
        config.source.writable_url(),
        Purpose::Command("adopt-store"),
    )?;
    store.check_schema().await?;
    let mut client = store.get().await.context("reach the store")?;
    let compared = StoreRecord::read(&*client).await?.identity;
    let Err(why) = compared.judge() else {
        let place = place(&compared.found);
        super::print(format_args!(
            "The store is where it was made or adopted: {place}."
        ))?;
        return Ok(Outcome::Holds);
    };
    let mut lines = Lines::default();
    lines.line(format_args!("recorded  {}", place(&compared.recorded)));
    lines.line(format_args!("found     {}", place(&compared.found)));
    lines.line("");
    lines.line(format_args!("{why}."));
    lines.line("");
    lines.append(pending(&client).await?);
    lines.line("");
    if !args.confirm {
        lines.line(
            "Nothing was changed. If the original sends no more, run \
             `walhook adopt-store --confirm`.",
        );
        super::print_lines(&lines)?;
        return Ok(Outcome::DoesNotHold);
    }
    let entry = Entry {
        action: "store.adopt",
        object: Some("store".to_owned()),
        before: Some(json!({"place": place(&compared.recorded)})),
        after: Some(json!({"place": place(&compared.found)})),
        ..Entry::default()
    };
    let transaction = client.transaction().await?;
    Store::adopt(&transaction, &compared.found).await?;
    Caller::of_command().commit(transaction, &entry).await?;
    lines.line("The store is adopted. Next: `walhook run`, which sends what is pending.");
    super::print_lines(&lines)?;
    Ok(Outcome::Holds)
}

fn place(identity: &StoreIdentity) -> String {
    format!(
        "PostgreSQL system {}, timeline {}, database `{}` (oid {}), table oid {}",
        identity.system_identifier,
        identity.timeline,
        identity.database,
        identity.database_oid,
        identity.table_oid
    )
}

/// What would be sent, and when an instance last wrote to the store.
async fn pending(client: &Client) -> anyhow::Result<Lines> {
    let row = client
        .query_one(
            include_str!("../../sql/queries/cli/what_would_be_sent.sql"),
            &[],
        )
        .await
        .context("count what would be sent")?;
    let count = |name| row.get::<_, i64>(name);
    let deliveries = count("scheduled") + count("in_memory");
    let subscriptions = count("subscriptions");
    let mut lines = Lines::default();
    lines.line(format_args!(
        "{deliveries} pending deliveries would be sent, and {subscriptions} active subscriptions served."
    ));
    if let Some(seconds) = row.get::<_, Option<f64>>("silent_seconds") {
        lines.line(format_args!(
            "An instance wrote to this store, or to the one that it was copied from, {seconds:.0} s ago."
        ));
    }
    Ok(lines)
}
