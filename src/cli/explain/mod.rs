//! `walhook explain`: which changes make which events for whom, and why others do not.

use std::io::{self, Write as _};

use anyhow::Context;
use jiff::Timestamp;

use super::signals::Signals;
use super::{Outcome, UsageError, moment};
use crate::config::Config;
use crate::duration::HumanDuration;
use crate::event::EventId;
use crate::terminal::{tell, visible};

mod audience;
mod live;
mod report;
mod stored;
mod taken;

use report::Report;

/// Show which changes make which events for whom, and why others do not
///
/// Follows the WAL from now on through a temporary slot of its own, and says of every
/// change of a published table which rule makes which event of it and which
/// subscriptions receive it; and where nothing comes of it, why: the operation, the
/// condition with the values that it saw, the row's tenant, no subscription, a filter.
/// With --since, --until or --event-id it looks at stored events instead.
///
/// It sends nothing and writes nothing, and does not touch the slot that `walhook run`
/// holds. It shows the values of rows, on standard output and nowhere else.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  walhook explain                         until Ctrl-C; now change a row
  walhook explain --for 30s --json | jq   one JSON object a change
  walhook explain --limit 1               the next change only
  walhook explain --since 1h              stored events of the last hour, and what was parked
  walhook explain --event-id evt_…        one event

While it runs, the temporary slot takes one of the server's max_replication_slots and one
of its max_wal_senders. It begins once every transaction that is open now has ended.")]
pub struct Args {
    /// End after so long.
    #[arg(long = "for", value_name = "DURATION", conflicts_with_all = ["since", "until", "event_id"])]
    duration: Option<HumanDuration>,

    /// End after so many changes, or stored events.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,

    /// Stored events from then on: a time, as in 2026-11-23T12:00:00Z, or how long ago, as in 2h.
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Timestamp>,

    /// Stored events before then; all by default.
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<Timestamp>,

    /// This stored event alone.
    #[arg(long, value_name = "ID", conflicts_with_all = ["since", "until"])]
    event_id: Option<EventId>,

    /// One JSON object a line, for programs; with the bodies of the events.
    #[arg(long)]
    json: bool,

    /// Show the events' bodies too.
    #[arg(long)]
    bodies: bool,
}

/// What of the stored events is asked for.
enum Window {
    Between(Timestamp, Timestamp),
    Event(EventId),
}

pub async fn run(args: Args, config: &Config) -> anyhow::Result<Outcome> {
    let mut signals = Signals::install().context("take over the signals")?;
    let mut output = Output {
        json: args.json,
        bodies: args.bodies,
        left: args.limit,
        summary: Summary::default(),
    };
    let explained = async {
        match window(&args)? {
            None => live::explain(&args, config, &mut output).await,
            Some(window) => stored::explain(window, config, &mut output).await,
        }
    };
    let holds = tokio::select! {
        // Nothing is half done that would have to be finished: it writes nowhere.
        () = signals.recv() => true,
        explained = explained => explained?,
    };
    tell(output.summary.text());
    Ok(Outcome::of(holds))
}

fn window(args: &Args) -> Result<Option<Window>, UsageError> {
    if let Some(id) = args.event_id {
        return Ok(Some(Window::Event(id)));
    }
    if args.since.is_none() && args.until.is_none() {
        return Ok(None);
    }
    let since = args.since.unwrap_or(Timestamp::UNIX_EPOCH);
    // All that is stored: of the source's clock, which it is stored by, nothing is known here.
    let until = args.until.unwrap_or(Timestamp::MAX);
    if until <= since {
        return Err(UsageError(format!(
            "the window is empty: --until {until} is not after --since {since}"
        )));
    }
    Ok(Some(Window::Between(since, until)))
}

/// Where reports go, and what they added up to.
struct Output {
    json: bool,
    bodies: bool,
    /// How many more may come.
    left: Option<u64>,
    summary: Summary,
}

impl Output {
    /// Writes a report. `false`: enough has been seen, or nobody reads on.
    fn show(&mut self, report: &Report) -> anyhow::Result<bool> {
        self.summary.count(report);
        let text = match self.json {
            true => visible(&serde_json::to_string(report)?).into_owned(),
            false => report.text(self.bodies).to_string(),
        };
        let mut out = io::stdout().lock();
        match writeln!(out, "{text}").and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(false),
            written => written.context("write to standard output")?,
        }
        let left = self.left.map(|left| left.saturating_sub(1));
        self.left = left;
        Ok(left != Some(0))
    }
}

#[derive(Default)]
struct Summary {
    changes: u64,
    events: u64,
    unheard: u64,
    parked: u64,
}

impl Summary {
    fn count(&mut self, report: &Report) {
        self.changes += 1;
        self.events += report.events().count() as u64;
        self.unheard += report.events().filter(|event| !event.is_received()).count() as u64;
        self.parked += report.parked();
    }

    fn text(&self) -> String {
        let Summary {
            changes,
            events,
            unheard,
            parked,
        } = self;
        format!("{changes} shown: {events} events, {unheard} of them for nobody; {parked} parked")
    }
}
