//! Those who drain, each measured from its start to the backlog's end.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use walhook::conninfo::{ConnInfo, Purpose};
use walhook::lsn::Lsn;
use walhook::mapping::{Mapped, Mapper};
use walhook::pgoutput::StreamEvent;
use walhook::replication;

use crate::backlog::{Backlog, End, Slots, load};
use crate::process::{self, Walhook};

/// How often the store is asked how far walhook is.
const POLL: Duration = Duration::from_millis(10);

/// A backlog that is not drained by then never will be.
const LIMIT: Duration = Duration::from_secs(900);

#[derive(Clone, Copy)]
pub(crate) enum Drainer {
    Recvlogical,
    NoEvent,
    Mapped,
    Stored,
}

pub(crate) struct Drain {
    pub(crate) elapsed: Duration,
    pub(crate) cpu: Duration,
    pub(crate) peak_kib: Option<u64>,
}

impl Drainer {
    pub(crate) const ALL: [Drainer; 4] = [
        Drainer::Recvlogical,
        Drainer::NoEvent,
        Drainer::Mapped,
        Drainer::Stored,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Drainer::Recvlogical => "pg_recvlogical",
            Drainer::NoEvent => "walhook, no event",
            Drainer::Mapped => "walhook, mapped",
            Drainer::Stored => "walhook, stored",
        }
    }

    pub(crate) async fn drain(
        self,
        backlog: &Backlog,
        slots: &Slots,
        rows: u64,
        end: End,
    ) -> anyhow::Result<Drain> {
        let drain = match self {
            Drainer::Recvlogical => recvlogical(backlog, &slots.recvlogical, end.behind).await,
            Drainer::NoEvent => walhook(backlog, &slots.no_event, end, 1).await,
            Drainer::Mapped => mapped(backlog, &slots.mapped, rows + 1).await,
            Drainer::Stored => walhook(backlog, &slots.stored, end, rows + 1).await,
        };
        let drain = drain.with_context(|| self.name())?;
        eprintln!(
            "  {:<20} {:>7.2} s",
            self.name(),
            drain.elapsed.as_secs_f64()
        );
        Ok(drain)
    }
}

async fn recvlogical(backlog: &Backlog, slot: &str, end: Lsn) -> anyhow::Result<Drain> {
    let mut command = Command::new(&backlog.recvlogical);
    command
        .args(["--dbname", &backlog.source, "--slot", slot])
        .args(["--start", "--no-loop", "--file", "/dev/null"])
        .args(["--endpos", &end.to_string()])
        .args(["--option", "proto_version=1"])
        .args(["--option", "publication_names=walhook"])
        .args(["--option", "messages=true"])
        .stdin(Stdio::null());
    let before = process::cpu_of_ended_children()?;
    let started = Instant::now();
    let ended = tokio::task::spawn_blocking(move || command.status()).await??;
    let elapsed = started.elapsed();
    ensure!(ended.success(), "pg_recvlogical failed: {ended}");
    Ok(Drain {
        elapsed,
        cpu: process::cpu_of_ended_children()? - before,
        peak_kib: None,
    })
}

/// The binary, until its progress says that the backlog's last row is durable.
async fn walhook(backlog: &Backlog, config: &Path, end: End, events: u64) -> anyhow::Result<Drain> {
    let schema = load(config)?.store.schema;
    let reached = format!("select commit_lsn from {schema}.replication_progress");
    let reached = backlog.store.prepare(&reached).await?;
    let started = Instant::now();
    let mut walhook = Walhook::start(config)?;
    let (elapsed, cpu) = loop {
        let (elapsed, cpu) = (started.elapsed(), walhook.cpu()?);
        let reached: Lsn = backlog.store.query_one(&reached, &[]).await?.get(0);
        if reached > end.before_last {
            break (elapsed, cpu);
        }
        let is_alive = elapsed < LIMIT && !walhook.has_ended()?;
        ensure!(
            is_alive,
            "not drained; its log ends:\n{}",
            walhook.last_words()
        );
        tokio::time::sleep(POLL).await;
    };
    let peak_kib = walhook.peak_kib()?;
    let count = format!("select count(*) from {schema}.webhook_events");
    let stored: i64 = backlog.store.query_one(&count, &[]).await?.get(0);
    ensure!(
        u64::try_from(stored)? == events,
        "{stored} events of {events}"
    );
    Ok(Drain {
        elapsed,
        cpu,
        peak_kib: Some(peak_kib),
    })
}

/// The stream and the mapper alone: an event's body for every row, which goes nowhere.
async fn mapped(backlog: &Backlog, config: &Path, events: u64) -> anyhow::Result<Drain> {
    let config = load(config)?;
    let rules = Arc::new(config.rules()?);
    let client = ConnInfo::parse(&backlog.source)?
        .connect(Purpose::Application, None)
        .await?;
    let tables: Vec<_> = rules.tables().cloned().collect();
    for table in walhook::source::catalog::describe(&client, &tables).await? {
        rules.check_table(&table.description());
    }
    let (before, started) = (process::own_cpu()?, Instant::now());
    let mut stream = replication::start(&ConnInfo::parse(&backlog.source)?, &config.source).await?;
    let mut mapper = Mapper::new(rules, stream.system().system_identifier);
    let (mut made, mut bytes, mut header, mut out) = (0, 0, None, Vec::new());
    while made < events {
        for event in stream.next_batch().await? {
            match event {
                StreamEvent::Begin(begun) => header = Some(begun),
                StreamEvent::Change(change) => {
                    mapper.map(&header.context("a change before Begin")?, &change, &mut out);
                }
                StreamEvent::Commit { end_lsn, .. } => stream.acknowledge(end_lsn),
                StreamEvent::Undecodable { error, .. } => return Err(error.into()),
                StreamEvent::Message { .. } | StreamEvent::Keepalive { .. } => {}
            }
        }
        for mapped in out.drain(..) {
            let Mapped::Event(event) = mapped else {
                anyhow::bail!("a row was parked");
            };
            made += 1;
            bytes += event.body.len();
        }
    }
    let drain = Drain {
        elapsed: started.elapsed(),
        cpu: process::own_cpu()?.saturating_sub(before),
        peak_kib: None,
    };
    ensure!(bytes > 0, "no bodies were made");
    stream.shutdown().await;
    Ok(drain)
}
