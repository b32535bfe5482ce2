//! `walhook replay`: stored events once more, to one subscription.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use jiff::Timestamp;

use super::backfill::number;
use super::{Outcome, UsageError, moment};
use crate::audit::Caller;
use crate::config::Config;
use crate::conninfo::Purpose;
use crate::db::{Store, tenant_transaction};
use crate::delivery::jobs::{self, Job, JobState, NewJob, ReplayRequest, Request};
use crate::delivery::listing::IdRange;
use crate::delivery::replay::Replay;
use crate::event::SubscriptionId;
use crate::lsn::Lsn;
use crate::mapping::Filter;
use crate::mapping::file::suggestion;
use crate::subscription::queries::{self, StoredSubscription};
use crate::subscription::wish;
use crate::terminal::tell;

/// How often a long replay says how far it has come.
const PROGRESS: Duration = Duration::from_secs(10);

/// Send stored events once more, to one subscription
///
/// New deliveries of the stored events that match the subscription's types and filter:
/// each under its event's own `webhook-id` and with the same body, so that a receiver that
/// has it knows it. The deliveries carry the replay's id (`replay_id`) in the API.
///
/// Events are kept for store.retention. For rows from before, or that no rule had made an
/// event of, there is `walhook backfill`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  walhook replay --subscription sub_… --since 2h
  walhook replay --subscription sub_… --since 2026-11-23T09:00:00Z --until 2026-11-23T10:00:00Z
  walhook replay --subscription sub_… --since 1d --event 'payment.*' --dry-run
  walhook replay --subscription sub_… --from-lsn 16/B374D848 --to-lsn 16/B4000000")]
pub struct Args {
    /// Who receives them.
    #[arg(long, value_name = "ID")]
    subscription: SubscriptionId,

    /// Events committed from then on: a time, as in 2026-11-23T12:00:00Z, or how long ago, as in 2h.
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Timestamp>,

    /// Events committed before then; all that is stored by default.
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<Timestamp>,

    /// Only this type, `payment.*` for all below it. May be given several times.
    #[arg(long = "event", value_name = "TYPE")]
    events: Vec<String>,

    /// Events committed at or after this place in the source's log.
    #[arg(long, value_name = "LSN")]
    from_lsn: Option<Lsn>,

    /// Events committed up to, and with, this place in the source's log.
    #[arg(long, value_name = "LSN")]
    to_lsn: Option<Lsn>,

    /// Say how many there are, and send nothing.
    #[arg(long)]
    dry_run: bool,
}

pub async fn run(args: Args, config: &Config) -> anyhow::Result<Outcome> {
    let (since, until) = range(&args)?;
    let store = Store::open(
        &config.store,
        config.source.writable_url(),
        Purpose::Command("replay"),
    )?;
    store.check_schema().await?;
    let (tenant, subscription) = find(&store, args.subscription).await?;
    if !subscription.active && !args.dry_run {
        return Err(UsageError(format!(
            "the subscription {} is disabled: what is sent to it would be parked. Enable it first",
            subscription.id
        ))
        .into());
    }
    let types = match args.events.as_slice() {
        [] => vec!["*".to_owned()],
        types => types.to_vec(),
    };
    let wanted = Replay {
        subscription: &subscription,
        since,
        until,
        from_lsn: args.from_lsn,
        to_lsn: args.to_lsn,
        types: &types,
        matches: filter_matches,
    };
    let client = store.get().await?;
    let ids = wanted.range(&*client).await?.unwrap_or_default();
    drop(client);
    let found = wanted.estimate(&store, &tenant, ids).await?;
    if found.filter_failures > 0 {
        tell(format_args!(
            "on {} events the subscription's filter fails: they are not sent",
            found.filter_failures
        ));
    }
    if found.matching == 0 || args.dry_run {
        super::print(match found.matching {
            0 => format!("no stored event matches{}", misspelt(&args, config)),
            matching => format!("{} events would be sent; nothing is", number_of(matching)),
        })?;
        return Ok(Outcome::of(found.matching > 0));
    }
    let request = Request::Replay(ReplayRequest {
        subscription: subscription.id.0,
        since,
        until,
        from_lsn: args.from_lsn.map(|lsn| lsn.0),
        to_lsn: args.to_lsn.map(|lsn| lsn.0),
        types: types.clone(),
    });
    let job = NewJob {
        request: &request,
        ids: IdRange {
            from: ids.0,
            to: ids.1,
        },
        total: Some(found.matching),
        max_per_second: None,
    };
    let done = carry_out(&store, &tenant, job).await?;
    super::print(format!(
        "{} deliveries are due now, as replay {}",
        number(done.done),
        done.id.0
    ))?;
    Ok(Outcome::of(done.done > 0))
}

/// Begins the job and carries it out to its end. An instance goes on with it where this process
/// is stopped.
async fn carry_out(store: &Store, tenant: &str, job: NewJob<'_>) -> anyhow::Result<Job> {
    let mut client = store.get().await?;
    let transaction = tenant_transaction(&mut client, tenant).await?;
    let id = jobs::begin(&transaction, tenant, &Caller::of_command(), job).await?;
    transaction.commit().await?;
    drop(client);
    let mut progress = Instant::now();
    loop {
        let advanced = jobs::advance(store, tenant, id, filter_matches).await;
        let advanced = advanced.with_context(|| {
            format!(
                "the replay was begun as {id}, and an instance with the API goes on with it; this \
                 command cannot"
            )
        })?;
        let said = progress.elapsed() < PROGRESS;
        if advanced.running && said {
            continue;
        }
        let mut client = store.get().await?;
        let transaction = tenant_transaction(&mut client, tenant).await?;
        let job = jobs::get(&transaction, id).await?;
        let job = job.with_context(|| format!("the job {id} was deleted"))?;
        transaction.rollback().await?;
        if !advanced.running {
            if let (JobState::Paused | JobState::Failed, Some(reason)) = (job.state, &job.reason) {
                bail!("the replay stopped after {} deliveries: {reason}", job.done);
            }
            return Ok(job);
        }
        progress = Instant::now();
        tell(format_args!(
            "{} of {} deliveries are due",
            number(job.done),
            job.total.map_or("?".to_owned(), number)
        ));
    }
}

fn number_of(count: u64) -> String {
    number(i64::try_from(count).unwrap_or(i64::MAX))
}

fn range(args: &Args) -> Result<(Timestamp, Option<Timestamp>), UsageError> {
    if args.since.is_none() && args.from_lsn.is_none() {
        let message = "say from when: --since, as in --since 2h, or --from-lsn";
        return Err(UsageError(message.to_owned()));
    }
    let since = args.since.unwrap_or(Timestamp::UNIX_EPOCH);
    if let Some(until) = args.until.filter(|until| *until <= since) {
        return Err(UsageError(format!(
            "the range is empty: --until {until} is not after --since {since}"
        )));
    }
    match (args.from_lsn, args.to_lsn) {
        (Some(from), Some(to)) if to < from => Err(UsageError(format!(
            "the range is empty: --to-lsn {to} is before --from-lsn {from}"
        ))),
        _ => Ok((since, args.until)),
    }
}

/// The subscription and whose it is.
async fn find(store: &Store, id: SubscriptionId) -> anyhow::Result<(String, StoredSubscription)> {
    let unknown = || UsageError(format!("there is no subscription {id}"));
    let mut client = store.get().await?;
    let tenants = wish::by_tenant(&client).await;
    let mut tenants = tenants.context("read the subscriptions")?.into_iter();
    let (tenant, _) = tenants
        .find(|(_, wishes)| wishes.iter().any(|wish| wish.id == id))
        .ok_or_else(unknown)?;
    let transaction = tenant_transaction(&mut client, &tenant).await?;
    let subscription = queries::get(&transaction, id).await?.ok_or_else(unknown)?;
    transaction.rollback().await?;
    Ok((tenant, subscription))
}

fn filter_matches(source: &str, body: &[u8]) -> Result<bool, String> {
    let matched = Filter::compile(source).and_then(|filter| filter.matches(body));
    matched.map_err(|error| error.to_string())
}

/// The nearest type that a rule makes, where one that was asked for is none of them.
fn misspelt(args: &Args, config: &Config) -> String {
    let Ok(rules) = config.rules() else {
        return String::new();
    };
    let types: Vec<&str> = rules.event_types().map(|one| &**one).collect();
    let unknown = |name: &&String| !name.ends_with('*') && !types.contains(&name.as_str());
    match args.events.iter().find(unknown) {
        Some(name) => suggestion(name, types.iter().copied()),
        None => String::new(),
    }
}
