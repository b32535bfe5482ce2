//! Stored events of a window of time, and what was parked in it.

use std::collections::HashMap;

use anyhow::{Context, bail};
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use super::audience::{Asked, Audience};
use super::report::{Answer, Report, RuleReport, Verdict};
use super::{Output, Window};
use crate::config::Config;
use crate::conninfo::Client;
use crate::event::{DeliveryId, EventId, id_floor, milliseconds};
use crate::terminal::tell;

/// Events that are read at a time; a body is 256 KiB at most by default.
const PAGE: i64 = 100;

/// The most of what was parked that is shown: there is a query for more.
const MAX_PARKED: i64 = 1000;

/// Answers whether there was anything to show.
pub(super) async fn explain(
    window: Window,
    config: &Config,
    output: &mut Output,
) -> anyhow::Result<bool> {
    config.source_conninfo()?;
    let audience = Audience::open(config).await?;
    let Some(client) = audience.store() else {
        bail!("the store is not set up: run `walhook setup`");
    };
    let (after, before, parked) = match window {
        Window::Event(id) => {
            let neighbour = |step: i128| Uuid::from_u128(id.0.as_u128().wrapping_add_signed(step));
            (neighbour(-1), neighbour(1), None)
        }
        // Ids begin with the milliseconds of their commit.
        Window::Between(since, until) => (
            id_floor(milliseconds(since)),
            id_floor(milliseconds(until)),
            Some((since, until)),
        ),
    };
    let shown = show_events(client, &audience, after, before, output).await?;
    if let Some((since, until)) = parked
        && output.left != Some(0)
    {
        show_parked(client, since, until, output).await?;
    }
    if shown == 0 && parked.is_none() {
        tell(format_args!(
            "there is no such event: it never was, or store.retention ({}) has passed",
            config.store.retention
        ));
        return Ok(false);
    }
    Ok(true)
}

async fn show_events(
    client: &Client,
    audience: &Audience,
    mut after: Uuid,
    before: Uuid,
    output: &mut Output,
) -> anyhow::Result<u64> {
    let query = include_str!("../../../sql/queries/cli/list_events_of_window.sql");
    let mut shown = 0;
    loop {
        let rows = client.query(query, &[&after, &before, &PAGE]).await;
        let rows = rows.context("read the stored events")?;
        let Some(last) = rows.last() else {
            return Ok(shown);
        };
        after = last.get("id");
        let mut deliveries = deliveries(client, audience, &rows).await?;
        for row in &rows {
            shown += 1;
            if !output.show(&event(row, audience, &mut deliveries))? {
                return Ok(shown);
            }
        }
    }
}

/// The deliveries of a page's events, found by their ids, which follow from event and
/// subscription: there is no index by event.
async fn deliveries(
    client: &Client,
    audience: &Audience,
    rows: &[Row],
) -> anyhow::Result<HashMap<Uuid, Answer>> {
    let mut ids = Vec::new();
    for row in rows {
        let event = EventId(row.get("id"));
        let wishes = audience.of(row.get("tenant_id")).iter();
        ids.extend(wishes.map(|wish| DeliveryId::derive(event, wish.id.0, Uuid::nil()).0));
    }
    let query = include_str!("../../../sql/queries/cli/list_deliveries_by_id.sql");
    let rows = client.query(query, &[&ids]).await;
    let rows = rows.context("read the events' deliveries")?;
    let found = rows.iter().map(|row| {
        let answer = Answer::Delivery {
            status: row.get("status"),
            attempts: row.get("attempts"),
            last_http_status: row.get("last_http_status"),
        };
        (row.get("id"), answer)
    });
    Ok(found.collect())
}

fn event(row: &Row, audience: &Audience, deliveries: &mut HashMap<Uuid, Answer>) -> Report {
    let asked = Asked {
        id: EventId(row.get("id")),
        event_type: row.get("event_type"),
        tenant_id: row.get("tenant_id"),
        commit_lsn: row.get("commit_lsn"),
        body: row.get("body"),
    };
    let mut event = audience.report(&asked, None);
    for one in &mut event.subscriptions {
        let delivery = DeliveryId::derive(asked.id, one.id.0, Uuid::nil());
        if let Some(answer) = deliveries.remove(&delivery.0) {
            one.answer = answer;
        } else if matches!(one.answer, Answer::Receives) {
            one.answer = Answer::ChangedSince;
        }
    }
    let row_key: &str = row.get("row_key");
    let mut key = serde_json::Map::new();
    if let Some((_table, row_key)) = row_key.split_once(':') {
        key.insert("key".to_owned(), row_key.into());
    }
    Report {
        commit_lsn: asked.commit_lsn,
        ordinal: row.get::<_, i64>("ordinal").unsigned_abs(),
        at: row.get::<_, Timestamp>("occurred_at").to_string(),
        operation: None,
        table: String::new(),
        key,
        rules: vec![RuleReport {
            rule: row.get("rule"),
            event_type: asked.event_type.to_owned(),
            verdict: Verdict::Event(event),
        }],
        note: None,
    }
}

async fn show_parked(
    client: &Client,
    since: Timestamp,
    until: Timestamp,
    output: &mut Output,
) -> anyhow::Result<()> {
    let query = include_str!("../../../sql/queries/cli/list_parked_of_window.sql");
    let rows = client.query(query, &[&since, &until, &MAX_PARKED]).await;
    for row in rows.context("read the parked changes")? {
        let report = Report {
            commit_lsn: row.get("commit_lsn"),
            ordinal: row.get::<_, i64>("ordinal").unsigned_abs(),
            at: row.get::<_, Timestamp>("parked_at").to_string(),
            operation: None,
            table: row.get("relation"),
            key: serde_json::Map::new(),
            rules: vec![RuleReport {
                rule: row.get("rule"),
                event_type: String::new(),
                verdict: Verdict::Parked {
                    reason: row.get("reason"),
                    detail: row.get("detail"),
                    condition: None,
                },
            }],
            note: None,
        };
        if !output.show(&report)? {
            break;
        }
    }
    Ok(())
}
