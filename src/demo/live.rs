//! The live view: what the application did, what arrived of it, and the totals.

use std::io;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, interval_at};
use tokio_util::sync::CancellationToken;

use super::Options;
use super::receiver::{Received, Verdict};
use super::traffic::{self, TENANTS, Work};
use super::view::{Latencies, Screen, milliseconds, printable, request_line, time_of_day};
use crate::conninfo::{Client, ConnInfo, Purpose};
use crate::metrics::METRICS;

pub(super) struct Live {
    screen: Screen,
    received: mpsc::Receiver<Received>,
    event_types: Vec<String>,
    started: Instant,
    totals: Totals,
    /// What the application does first, until its webhook was shown.
    first: Option<&'static str>,
}

/// The change whose webhook is shown whole.
const FIRST: &str =
    "insert into payments (tenant_id, amount, status) values ('acme', 42, 'succeeded')";

#[derive(Default)]
struct Totals {
    /// Answered with a 2xx.
    delivered: u64,
    /// Answered with an error, on purpose.
    refused: u64,
    unverified: u64,
    verified_of: [u64; TENANTS.len()],
    /// Of first attempts: a retry is as late as its schedule says.
    latencies: Latencies,
}

/// After the traffic has ended, every delivery must have arrived by then: a flaky
/// endpoint's breaker may be open for 10 s, and its retries take a few more.
const SETTLE: Duration = Duration::from_secs(40);

/// How often a terminal's status line changes.
const STATUS: Duration = Duration::from_millis(500);
/// How often the status is a line of its own where there is no terminal.
const PLAIN_STATUS: Duration = Duration::from_secs(5);

impl Live {
    pub(super) fn new(
        screen: Screen,
        received: mpsc::Receiver<Received>,
        event_types: Vec<String>,
    ) -> Self {
        Live {
            screen,
            received,
            event_types,
            started: Instant::now(),
            totals: Totals::default(),
            first: Some(FIRST),
        }
    }

    /// Shows traffic and deliveries until `shutdown`, or until the duration is over and
    /// everything has arrived. Answers whether it did, and verified.
    pub(super) async fn run(
        &mut self,
        url: &str,
        options: &Options,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<bool> {
        let conninfo = ConnInfo::parse(url)?;
        let application = conninfo.connect(Purpose::Application, None).await?;
        application
            .batch_execute(FIRST)
            .await
            .context("make the first change of the sample application")?;
        let (done_by, mut done) = mpsc::channel(64);
        let stop = CancellationToken::new();
        let mut traffic = tokio::spawn(traffic::run(
            application,
            options.rate,
            done_by,
            stop.clone(),
        ));
        let period = match self.screen.has_status() {
            true => STATUS,
            false => PLAIN_STATUS,
        };
        let mut status = interval_at(tokio::time::Instant::now() + period, period);
        status.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let over = async {
            match options.duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(over);
        let interrupted = loop {
            // Every branch is cancel-safe: a channel gives up nothing that it does not
            // return, and the others hold no data.
            tokio::select! {
                () = shutdown.cancelled() => break true,
                () = &mut over => break false,
                Some(received) = self.received.recv() => self.show(&received)?,
                Some(work) = done.recv() => self.show_work(&work)?,
                _ = status.tick() => self.show_status()?,
                ended = &mut traffic => {
                    ended?.context("make sample traffic")?;
                    anyhow::bail!("the sample traffic ended by itself");
                }
            }
        };
        stop.cancel();
        // A traffic that waits to tell us something must not wait for ever.
        drop(done);
        let application = traffic.await?.context("make sample traffic")?;
        if interrupted {
            return Ok(true);
        }
        let settled = self.settle(application, shutdown).await?;
        let of_every_tenant = self.totals.verified_of.iter().all(|count| *count > 0);
        Ok(settled && of_every_tenant && self.totals.unverified == 0)
    }

    /// Waits until everything that the application committed has been delivered.
    async fn settle(
        &mut self,
        mut application: Client,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<bool> {
        let lsn: String = application
            .query_one(include_str!("../../sql/demo/current_lsn.sql"), &[])
            .await?
            .get(0);
        // Once this one is enqueued, all before `lsn` are.
        traffic::last(&mut application).await?;
        let deadline = Instant::now() + SETTLE;
        let mut poll = interval(Duration::from_millis(100));
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(true),
                Some(received) = self.received.recv() => self.show(&received)?,
                _ = poll.tick() => {
                    let unsettled = include_str!("../../sql/demo/unsettled_deliveries.sql");
                    let unsettled = application.query_opt(unsettled, &[&lsn]).await?;
                    let pending: Option<i64> = unsettled.and_then(|row| row.get(0));
                    if pending == Some(0) {
                        return Ok(true);
                    }
                    if Instant::now() >= deadline {
                        let pending = pending.map_or("events".to_owned(), |n| format!("{n} deliveries"));
                        let line = format!("{pending} had not arrived {} s after the end", SETTLE.as_secs());
                        self.screen.line(&self.screen.style().red(line).to_string())?;
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// What arrived while walhook was finishing.
    pub(super) fn receive_rest(&mut self) -> io::Result<()> {
        while let Ok(received) = self.received.try_recv() {
            self.show(&received)?;
        }
        Ok(())
    }

    /// The last line.
    pub(super) fn summary(&mut self) -> io::Result<()> {
        let text = self.status_text();
        self.screen.status("")?;
        self.screen.line(&text)
    }

    fn show(&mut self, received: &Received) -> io::Result<()> {
        self.totals.count(received);
        let is_first = received.verdict == Verdict::Verified
            && received.event_type.as_deref() == Some("payment.received")
            && received.status.is_success();
        if let Some(sql) = self.first.take_if(|_| is_first) {
            for line in whole(sql, received) {
                self.screen.line(&line)?;
            }
        }
        let style = self.screen.style();
        let line = format!(
            "{}  {}",
            request_line(style, received),
            style.dim(printable(Some(&received.path)))
        );
        self.screen.line(&line)
    }

    fn show_work(&mut self, work: &Work) -> io::Result<()> {
        let style = self.screen.style();
        let end = match work.committed {
            true => "",
            false => "; rolled back: nothing is sent",
        };
        let line = format!(
            "{}  {:<8} {}{end}",
            time_of_day(work.at),
            work.tenant,
            work.text
        );
        self.screen.line(&style.dim(line).to_string())
    }

    fn show_status(&mut self) -> io::Result<()> {
        let text = self.status_text();
        match self.screen.has_status() {
            true => self.screen.status(&text),
            false => self.screen.line(&text),
        }
    }

    fn status_text(&self) -> String {
        let counted = |event_type: &String| {
            let labels = [event_type.as_str()];
            METRICS.events.with_label_values(&labels).get()
        };
        let events: u64 = self.event_types.iter().map(counted).sum();
        let totals = &self.totals;
        let quantile = |percent| totals.latencies.quantile(percent);
        let latency = |percent| quantile(percent).map_or("-".to_owned(), milliseconds);
        format!(
            "== {events} events · {} delivered · {} refused, to show retries · {} not verified · \
             commit to receiver p50 {}, p95 {} · {} s",
            totals.delivered,
            totals.refused,
            totals.unverified,
            latency(50),
            latency(95),
            self.started.elapsed().as_secs()
        )
    }
}

/// A webhook from the change to the last byte.
fn whole(sql: &str, received: &Received) -> Vec<String> {
    let mut lines = vec![
        "one webhook, whole: the application commits".to_owned(),
        format!("  {sql}"),
        "and the receiver gets".to_owned(),
        format!("  POST {}", printable(Some(&received.path))),
    ];
    for (name, value) in &received.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        let clean: String = value.chars().filter(|c| !c.is_control()).collect();
        lines.push(format!("  {name}: {clean}"));
    }
    let body = String::from_utf8_lossy(&received.body);
    let clean: String = body.chars().filter(|c| !c.is_control()).collect();
    lines.extend([String::new(), format!("  {clean}"), String::new()]);
    lines
}

impl Totals {
    fn count(&mut self, received: &Received) {
        match received.verdict {
            Verdict::Verified => {
                let tenant = received.tenant_id.as_deref();
                let index = TENANTS.iter().position(|own| Some(*own) == tenant);
                if let Some(count) = index.and_then(|index| self.verified_of.get_mut(index)) {
                    *count += 1;
                }
            }
            Verdict::Refused(_) | Verdict::NotChecked => self.unverified += 1,
        }
        match received.status.is_success() {
            true => self.delivered += 1,
            false => self.refused += 1,
        }
        if received.attempt == 1
            && let Some(latency) = received.latency
        {
            self.latencies.push(latency);
        }
    }
}
