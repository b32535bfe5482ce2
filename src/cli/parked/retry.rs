//! `walhook parked retry`.

use std::time::{Duration, Instant};

use anyhow::Context;
use jiff::Timestamp;

use super::RetryArgs;
use crate::audit::Caller;
use crate::backfill::job::Jobs;
use crate::cli::Outcome;
use crate::cli::backfill::number;
use crate::cli::signals::Signals;
use crate::conninfo::Client;
use crate::terminal::{Lines, tell};

/// How often the store is asked how far it is.
const POLL: Duration = Duration::from_millis(500);

/// How often it is said how far it is.
const LINES: Duration = Duration::from_secs(5);

pub(super) async fn run(
    client: &mut Client,
    slot: &str,
    args: &RetryArgs,
) -> anyhow::Result<Outcome> {
    let began = Instant::now();
    let query = include_str!("../../../sql/queries/cli/ask_parked_retry.sql");
    let filter = args.chosen.filter();
    let entry = args.chosen.entry("parked.retry");
    let transaction = client.transaction().await?;
    let asked = transaction.query_one(query, &filter.parameters()).await;
    let asked = asked.context("ask for parked changes to be mapped again")?;
    let (count, asked_at): (i64, Timestamp) = (asked.get("asked"), asked.get("asked_at"));
    if count == 0 {
        crate::cli::print("No parked change matches.")?;
        return Ok(Outcome::Holds);
    }
    Caller::of_command().commit(transaction, &entry).await?;
    let client = &*client;
    let jobs = Jobs { client, slot };
    let mut signals = Signals::install()?;
    let mut said_at = Instant::now();
    let mut said_alone = false;
    loop {
        let (waiting, stayed) = progress(client, asked_at).await?;
        if waiting == 0 {
            return report(client, asked_at, count, stayed).await;
        }
        if !said_alone && began.elapsed() >= Duration::from_secs(2) && !jobs.has_leader().await? {
            said_alone = true;
            tell("no instance holds the slot: they are mapped once `walhook run` does. Waiting …");
        }
        if said_at.elapsed() >= LINES {
            said_at = Instant::now();
            tell(format_args!(
                "{} of {} left",
                number(waiting),
                number(count)
            ));
        }
        let left = args.timeout.0.saturating_sub(began.elapsed());
        tokio::select! {
            () = tokio::time::sleep(POLL.min(left)), if !left.is_zero() => continue,
            () = signals.recv() => {}
            () = std::future::ready(()), if left.is_zero() => {}
        }
        tell(format_args!(
            "{} of {} are not mapped yet: they will be once an instance holds the slot",
            number(waiting),
            number(count)
        ));
        return Ok(Outcome::DoesNotHold);
    }
}

/// How many wait to be mapped, and how many were and stay.
async fn progress(client: &Client, asked_at: Timestamp) -> anyhow::Result<(i64, i64)> {
    let query = include_str!("../../../sql/queries/cli/parked_retry_progress.sql");
    let row = client.query_one(query, &[&asked_at]).await;
    let row = row.context("ask how many parked changes are left")?;
    Ok((row.get("waiting"), row.get("stayed")))
}

async fn report(
    client: &Client,
    asked_at: Timestamp,
    count: i64,
    stayed: i64,
) -> anyhow::Result<Outcome> {
    let mut lines = Lines::default();
    lines.line(format_args!(
        "{} of {} parked change(s) are parked no longer.",
        number(count - stayed),
        number(count)
    ));
    if stayed > 0 {
        let query = include_str!("../../../sql/queries/cli/parked_retry_stayed.sql");
        let rows = client
            .query(query, &[&asked_at])
            .await
            .context("list why parked changes stay")?;
        for row in &rows {
            lines.line(format_args!(
                "{} stay: {} of {}, rule `{}`: {}",
                number(row.get("changes")),
                row.get::<_, &str>("reason"),
                row.get::<_, &str>("relation"),
                row.get::<_, &str>("rule"),
                row.get::<_, &str>("detail")
            ));
        }
        lines.line("A parked change keeps its row as it was committed: correct the rule and retry, or see `walhook parked discard`.");
    }
    crate::cli::print_lines(&lines)?;
    Ok(Outcome::of(stayed == 0))
}
