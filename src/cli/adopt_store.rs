//! `walhook adopt-store`.

use std::fmt::Write as _;

use anyhow::Context;

use super::Outcome;
use crate::config::Config;
use crate::conninfo::{Client, Purpose};
use crate::db::{Store, StoreIdentity, StoreRecord};

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
    let client = store.get().await.context("reach the store")?;
    let compared = StoreRecord::read(&*client).await?.identity;
    let Err(why) = compared.judge() else {
        let place = place(&compared.found);
        super::print(&format!(
            "The store is where it was made or adopted: {place}.\n"
        ))?;
        return Ok(Outcome::Holds);
    };
    let mut text = String::new();
    let _ = writeln!(text, "recorded  {}", place(&compared.recorded));
    let _ = writeln!(text, "found     {}", place(&compared.found));
    let _ = writeln!(text, "\n{why}.\n");
    text.push_str(&pending(&client).await?);
    if !args.confirm {
        text.push_str(
            "\nNothing was changed. If the original sends no more, run \
             `walhook adopt-store --confirm`.\n",
        );
        super::print(&text)?;
        return Ok(Outcome::DoesNotHold);
    }
    store.adopt(&compared.found).await?;
    text.push_str("\nThe store is adopted. Next: `walhook run`, which sends what is pending.\n");
    super::print(&text)?;
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
async fn pending(client: &Client) -> anyhow::Result<String> {
    let row = client
        .query_one(
            include_str!("../../sql/queries/what_would_be_sent.sql"),
            &[],
        )
        .await
        .context("count what would be sent")?;
    let count = |name| row.get::<_, i64>(name);
    let deliveries = count("scheduled") + count("in_memory");
    let subscriptions = count("subscriptions");
    let mut text = format!(
        "{deliveries} pending deliveries would be sent, and {subscriptions} active subscriptions served.\n"
    );
    if let Some(seconds) = row.get::<_, Option<f64>>("silent_seconds") {
        let _ = writeln!(
            text,
            "An instance wrote to this store, or to the one that it was copied from, {seconds:.0} s ago."
        );
    }
    Ok(text)
}
