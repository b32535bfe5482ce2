//! Says what a backfill would send, and sends nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::Outcome;
use super::list::number;
use super::order::Asked;
use crate::backfill::reader::Reader;
use crate::cli::signals::Signals;
use crate::event::{BackfillId, Event, SubscriptionId};
use crate::mapping::filter::Body;
use crate::mapping::{ExistingRow, Filter, Mapped, Mapper};
use crate::pgoutput::{Change, Operation, TransactionHeader};
use crate::subscription::wish::Wish;
use crate::terminal::{Lines, tell};

/// Rows that are read at once.
const CHUNK: usize = 1000;

/// What the rows came to.
#[derive(Default)]
struct Tally {
    rows: u64,
    /// Rows that no rule made anything of.
    without: u64,
    by_rule: BTreeMap<usize, Made>,
}

#[derive(Default)]
struct Made {
    events: u64,
    deliveries: u64,
    /// By reason, with one detail.
    parked: BTreeMap<&'static str, (u64, String)>,
}

/// The subscriptions of a tenant, each with its filter; one that does not compile never
/// matches.
type Audience = HashMap<String, Vec<(Wish, Option<Result<Filter, SubscriptionId>>)>>;

pub(super) async fn run(asked: Asked, signals: &mut Signals) -> anyhow::Result<Outcome> {
    let mut tally = Tally::default();
    let whole = tokio::select! {
        // Nothing is half done that would have to be finished: it writes nowhere.
        () = signals.recv() => false,
        read = read(&asked, &mut tally) => read.map(|()| true)?,
    };
    if !whole {
        tell("interrupted: this is what was read so far");
    }
    super::super::print_lines(&text(&asked, &tally))?;
    Ok(Outcome::of(whole))
}

async fn read(asked: &Asked, tally: &mut Tally) -> anyhow::Result<()> {
    let rules = Arc::clone(&asked.rules);
    let chosen: HashSet<usize> = asked.outlines.iter().map(|rule| rule.index).collect();
    let audience = audience(&asked.wishes);
    let mut mapper = Mapper::new(rules, 0);
    let header = TransactionHeader {
        xid: 0,
        commit_lsn: asked.order.from_lsn,
        committed_at: Timestamp::now(),
    };
    let reader: &Reader = &asked.reader;
    let mut cursor: Option<Vec<String>> = None;
    let mut out = Vec::new();
    loop {
        let next = reader.next(&asked.source, cursor.as_deref(), CHUNK).await?;
        let read = reader
            .read(&asked.source, cursor.as_deref(), &next, CHUNK)
            .await?;
        for row in read.rows {
            let change = Change {
                relation: Arc::clone(&reader.table().relation),
                ordinal: 0,
                operation: Operation::Insert { new: row.tuple },
            };
            let row = ExistingRow {
                backfill: BackfillId(uuid::Uuid::nil()),
                change: &change,
                key: &[],
            };
            mapper.map_existing(&header, &row, &chosen, &mut out);
            tally.count(&audience, &mut out);
        }
        if read.end {
            return Ok(());
        }
        cursor = read.cursor.or(cursor);
    }
}

fn audience(wishes: &[Wish]) -> Audience {
    let mut audience = Audience::new();
    for wish in wishes {
        let filter = wish.filter.as_deref();
        let filter = filter.map(|source| Filter::compile(source).map_err(|_| wish.id));
        let of_tenant = audience.entry(wish.tenant_id.clone()).or_default();
        of_tenant.push((wish.clone(), filter));
    }
    audience
}

impl Tally {
    fn count(&mut self, audience: &Audience, mapped: &mut Vec<(usize, Mapped)>) {
        self.rows += 1;
        if mapped.is_empty() {
            self.without += 1;
        }
        for (rule, mapped) in mapped.drain(..) {
            let made = self.by_rule.entry(rule).or_default();
            match mapped {
                Mapped::Event(event) => {
                    made.events += 1;
                    made.deliveries += receivers(audience, &event);
                }
                Mapped::Parked(change) => {
                    let reason = change.reason.as_str();
                    made.parked.entry(reason).or_insert((0, change.detail)).0 += 1;
                }
            }
        }
    }
}

fn receivers(audience: &Audience, event: &Event) -> u64 {
    let of_tenant = audience
        .get(&*event.tenant_id)
        .map_or(&[][..], Vec::as_slice);
    let mut body = None;
    let receives = |(wish, filter): &&(Wish, Option<Result<Filter, SubscriptionId>>)| {
        // Whoever exists had begun.
        if wish.refusal(&event.event_type, wish.from_lsn).is_some() {
            return false;
        }
        let Some(filter) = filter else { return true };
        let body = body.get_or_insert_with(|| Body::parse(&event.body));
        match (filter, body) {
            (Ok(filter), Ok(body)) => filter.matches_body(body).unwrap_or(false),
            _ => false,
        }
    };
    of_tenant.iter().filter(receives).count() as u64
}

fn text(asked: &Asked, tally: &Tally) -> Lines {
    let count = |count: u64| number(i64::try_from(count).unwrap_or(i64::MAX));
    let mut lines = Lines::default();
    lines.line(format_args!(
        "{} rows of {}; nothing is sent:",
        count(tally.rows),
        asked.order.table
    ));
    for rule in &asked.outlines {
        let none = Made::default();
        let made = tally.by_rule.get(&rule.index).unwrap_or(&none);
        lines.line(format_args!(
            "  {}: {} events to {} deliveries",
            rule.event_type,
            count(made.events),
            count(made.deliveries)
        ));
        for (reason, (rows, detail)) in &made.parked {
            lines.line(format_args!("    {} {reason}: {detail}", count(*rows)));
        }
    }
    lines.line(format_args!("  no event: {} rows", count(tally.without)));
    lines
}
