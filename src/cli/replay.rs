//! `walhook replay`: stored events once more, to one subscription.

use anyhow::Context;
use jiff::Timestamp;

use super::backfill::number;
use super::{Outcome, UsageError, moment};
use crate::audit::Caller;
use crate::config::Config;
use crate::conninfo::Purpose;
use crate::db::{Store, tenant_transaction};
use crate::delivery::replay::{self, Replay};
use crate::event::SubscriptionId;
use crate::lsn::Lsn;
use crate::mapping::Filter;
use crate::mapping::file::suggestion;
use crate::subscription::queries::{self, StoredSubscription};
use crate::subscription::wish;
use crate::terminal::tell;

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
    let everything = ["*".to_owned()];
    let wanted = Replay {
        subscription: &subscription,
        since,
        until,
        from_lsn: args.from_lsn,
        to_lsn: args.to_lsn,
        types: match args.events.as_slice() {
            [] => &everything,
            types => types,
        },
        matches: filter_matches,
        dry_run: args.dry_run,
    };
    let replayed = replay::replay(&store, &tenant, &wanted, &Caller::of_command()).await?;
    let count = number(i64::try_from(replayed.deliveries).unwrap_or(i64::MAX));
    if replayed.filter_failures > 0 {
        tell(format_args!(
            "on {} events the subscription's filter failed: they are not sent",
            replayed.filter_failures
        ));
    }
    super::print(match (args.dry_run, replayed.deliveries) {
        (_, 0) => format!("no stored event matches{}", misspelt(&args, config)),
        (true, _) => format!("{count} events would be sent; nothing is"),
        (false, _) => format!("{count} deliveries are due now, as replay {}", replayed.id),
    })?;
    Ok(Outcome::of(replayed.deliveries > 0))
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
