//! `walhook status`.

use anyhow::Context;
use serde::Serialize;

use super::{Outcome, chain};
use crate::clock;
use crate::config::Config;
use crate::conninfo::{Client, ConnInfo, Purpose};
use crate::delivery::problems::{self, Names, StoreProblems};
use crate::delivery::queue;
use crate::health::{Problem, ProblemKind};
use crate::lsn::Lsn;
use crate::preflight::StoreState;
use crate::replication::slot::{self, Budget, SlotState};
use crate::source::progress::{self, Progress};
use crate::source::publication;
use crate::source::standby_copies;

mod clocks;
mod found;
mod gaps;
mod instances;
mod render;
mod shadow;
mod subscriptions;

pub(in crate::cli) use found::parked_change;
pub use subscriptions::Subscriptions;

/// Show the slot, the progress, the instances and what waits
///
/// Exit code 0: all is well. 1: something is wrong, and the text says what and what to do. The
/// slot is missing, lost, about to be lost or read by no process, or it does not continue the
/// recorded progress; a gap waits to be accepted; no instance delivers, or deliveries have been
/// due for long; endpoints have done nothing but fail for a minute or more; deliveries failed
/// for good, or changes were parked, within the last day; filters failed within the last hour;
/// tenants of events are spelt otherwise than those of subscriptions; subscriptions cannot be read; instances have different rules; or clocks differ by 30 s or
/// more.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  walhook status
  walhook status --json | jq .slot.lag_bytes
  walhook status --json > /dev/null || alert     as a monitoring probe")]
pub struct Args {
    /// Print the status as JSON.
    #[arg(long)]
    json: bool,
}

pub async fn run(args: Args, config: &Config) -> anyhow::Result<Outcome> {
    let status = read(config).await?;
    if args.json {
        super::print_json(&status)?;
    } else {
        super::print_lines(&render::text(&status))?;
    }
    Ok(Outcome::of(status.problems.is_empty()))
}

/// What there is to say; `None` where it cannot be said, and a problem says why.
#[derive(Debug, Default, Serialize)]
struct Status {
    /// What is wrong, each with what to do.
    problems: Vec<Problem>,
    slot: Option<Slot>,
    progress: Option<RecordedPosition>,
    instances: Vec<instances::Instance>,
    /// How far the source's clock is ahead of the store's; negative: behind.
    source_clock_skew_seconds: Option<f64>,
    queue: Option<Queue>,
    subscriptions: Option<Subscriptions>,
    /// What is wrong with endpoints, deliveries, filters and changes, each named.
    #[serde(flatten)]
    found: Option<StoreProblems>,
    gaps: Option<gaps::Gaps>,
    /// The tables whose old values walhook keeps itself.
    shadow: Vec<shadow::Table>,
    /// The rules that read them, each active from a commit on.
    shadow_rules: Vec<shadow::Rule>,
}

#[derive(Debug, Serialize)]
struct Slot {
    name: String,
    wal_status: Option<String>,
    active_pid: Option<i32>,
    confirmed_flush_lsn: String,
    /// Written to the log and not yet confirmed.
    lag_bytes: u64,
    /// Log that the server keeps for the slot.
    retained_bytes: u64,
    /// Log that may be written until the slot is in danger; null: no limit.
    safe_bytes: Option<i64>,
    /// What the slot may keep: the smaller of the server's limit and source.wal_limit.
    limit_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
struct RecordedPosition {
    acknowledged_lsn: String,
    commit_lsn: String,
    timeline: i32,
    epoch: i64,
    leader: Option<uuid::Uuid>,
    age_seconds: f64,
}

/// Deliveries that are not delivered or cancelled, by state.
#[derive(Debug, Serialize)]
struct Queue {
    pending: i64,
    in_flight: i64,
    parked: i64,
    failed: i64,
    oldest_due_seconds: Option<f64>,
}

/// An instance that is silent for this long is fenced by the others: three heartbeats.
const SILENT: f64 = 6.0;

async fn read(config: &Config) -> anyhow::Result<Status> {
    let conninfo = config.source_conninfo()?;
    let mut status = Status::default();
    // Before the store: a running walhook records what it acknowledges before the slot
    // moves, and so a slot that is read first is never ahead of the record.
    let source = async {
        let client = crate::source::connect(&conninfo, Purpose::Inspection("status")).await?;
        let slot = slot::inspect(&client, &config.source.slot).await?;
        anyhow::Ok((client, slot))
    };
    let source = source.await;
    let mut store_clock = None;
    let progress = match StoreState::read(config, Purpose::Inspection("status")).await {
        Ok(store) if store.usable().is_ok() => {
            if let Some(error) = store.refusal() {
                status.problem(ProblemKind::StoreRefused, error.to_string());
            }
            let client = store.store.get().await.context("reach the store")?;
            status.read_store(&client, store.progress.as_ref()).await?;
            let clock = clock::read(&*client).await;
            store_clock = Some(clock.context("read the store's clock")?);
            status.gaps = Some(gaps::read(&client, &config.source.slot).await?);
            (status.shadow, status.shadow_rules) =
                shadow::read(&client, &config.source.slot).await?;
            store.progress
        }
        Ok(store) => {
            if let Err(error) = store.usable() {
                status.problem(ProblemKind::NotSetUp, error.to_string());
            }
            None
        }
        Err(error) => {
            status.problem(
                ProblemKind::StoreUnreachable,
                format!("the store cannot be read: {}", chain(&error)),
            );
            None
        }
    };
    let source = async {
        let (client, slot) = source?;
        if let Some(store_clock) = store_clock {
            let source_clock = clock::read(&client).await;
            let source_clock = source_clock.context("read the source's clock")?;
            let skew = source_clock.ahead_of(&store_clock);
            status.source_clock_skew_seconds = Some(skew.0);
            status
                .problems
                .extend(clocks::of_source(skew).map(|text| ProblemKind::ClockSkew.because(text)));
        }
        status
            .read_source(&client, &conninfo, config, progress.as_ref(), slot)
            .await
    };
    if let Err(error) = source.await {
        status.problem(
            ProblemKind::SourceUnreachable,
            format!("the source cannot be read: {}", chain(&error)),
        );
    }
    let open = status.gaps.iter().flat_map(gaps::Gaps::problems);
    let unnamed: Vec<_> = open
        .filter(|gap| {
            !status
                .problems
                .iter()
                .any(|named| named.text.contains(gap.reason))
        })
        .map(|gap| gap.problem)
        .collect();
    status.problems.extend(unnamed);
    Ok(status)
}

impl Status {
    fn problem(&mut self, kind: ProblemKind, text: impl Into<String>) {
        self.problems.push(kind.because(text));
    }

    async fn read_source(
        &mut self,
        client: &Client,
        conninfo: &ConnInfo,
        config: &Config,
        progress: Option<&Progress>,
        state: Option<SlotState>,
    ) -> anyhow::Result<()> {
        let name = &config.source.slot;
        let system = progress::identify(client, conninfo, progress).await?;
        let recorded = progress.map(|progress| &progress.recorded);
        if let Err(gap) = slot::verify(recorded, &system, name, state.as_ref()) {
            self.problem(ProblemKind::Gap, gap.to_string());
        }
        let Some(state) = state else { return Ok(()) };
        let now = slot::current_wal_insert_lsn(client).await?;
        if state.wal_status.as_deref() == Some("unreserved") {
            self.problem(ProblemKind::WalBudget, format!(
                "the slot `{name}` is about to be lost: it is beyond max_slot_wal_keep_size; start `walhook run` now"
            ));
        }
        if state.active_pid.is_none() && state.lost().is_none() {
            self.problem(ProblemKind::SlotUnread, format!(
                "nobody reads the slot `{name}`, and the server keeps the WAL for it: start `walhook run`"
            ));
        }
        if progress.is_none() {
            self.problem(
                ProblemKind::NotSetUp,
                format!("nothing is recorded of the slot `{name}`: run `walhook setup`"),
            );
        }
        let budget = Budget::of(&state, now, config.source.wal_limit);
        if budget.uses(80) {
            self.problem(ProblemKind::WalBudget, format!(
                "the slot `{name}` keeps over 80 % of the WAL that it may: see what holds walhook up, or raise the limit"
            ));
        }
        if state.failover {
            self.read_standbys(conninfo, name).await;
        }
        self.slot = Some(describe_slot(name, &state, &budget));
        for harm in publication::present_harms(client, &config.source.publication).await? {
            self.problem(
                ProblemKind::HarmedTable,
                format!(
                    "{} must not be published as it is: {}: {}",
                    harm.table,
                    harm.why,
                    harm.mend.join(" ")
                ),
            );
        }
        Ok(())
    }

    async fn read_standbys(&mut self, conninfo: &ConnInfo, slot: &str) {
        for (address, copy) in standby_copies::of_standbys(conninfo, slot, "status").await {
            if let Some((what, why)) = copy.problem(&address) {
                self.problem(ProblemKind::StandbyCopy, format!("{what}: {why}"));
            }
        }
    }

    async fn read_store(
        &mut self,
        client: &Client,
        progress: Option<&Progress>,
    ) -> anyhow::Result<()> {
        let leader = progress.and_then(|progress| progress.leader);
        self.progress = progress.map(|progress| RecordedPosition {
            acknowledged_lsn: progress.recorded.acknowledged_lsn.to_string(),
            commit_lsn: progress.recorded.commit_lsn.to_string(),
            timeline: progress.recorded.timeline,
            epoch: progress.epoch,
            leader,
            age_seconds: progress.age_seconds,
        });
        self.instances = instances::read(client, leader).await?;
        let delivers = self.instances.iter().any(|instance| {
            let deliver = |role: &String| role == "deliver";
            instance.silent_seconds < SILENT && instance.roles.iter().any(deliver)
        });
        if let Some(problem) = instances::differing_rules(&self.instances) {
            self.problem(ProblemKind::RulesDiffer, problem);
        }
        let clocks = clocks::of_instances(&self.instances);
        self.problems.extend(
            clocks
                .into_iter()
                .map(|text| ProblemKind::ClockSkew.because(text)),
        );
        if !delivers {
            self.problem(
                ProblemKind::NothingDelivers,
                "no instance delivers: start `walhook run`",
            );
        }
        let queue = queue::Queue::count(client).await?;
        self.problems.extend(queue.overdue());
        self.queue = Some(Queue {
            pending: queue.pending,
            in_flight: queue.in_flight + queue::Queue::count_owned(client).await?,
            parked: queue.parked,
            failed: queue.failed,
            oldest_due_seconds: queue.oldest_due.map(|oldest| oldest.as_secs_f64()),
        });
        let subscriptions = Subscriptions::read(client).await?;
        if let Some(problem) = subscriptions.problem() {
            self.problem(ProblemKind::UnreadableSubscriptions, problem);
        }
        self.subscriptions = Some(subscriptions);
        let found = problems::read(client).await?;
        self.problems.extend(found.problems(Names::Beside));
        self.found = Some(found);
        Ok(())
    }
}

fn describe_slot(name: &str, state: &SlotState, budget: &Budget) -> Slot {
    Slot {
        name: name.to_owned(),
        wal_status: state.wal_status.clone(),
        active_pid: state.active_pid,
        confirmed_flush_lsn: state.confirmed_flush_lsn.unwrap_or(Lsn::ZERO).to_string(),
        lag_bytes: budget.lag,
        retained_bytes: budget.retained,
        safe_bytes: state.safe_wal_size,
        limit_bytes: budget.limit,
    }
}
