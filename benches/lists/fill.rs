//! Fills a store with deliveries of many tenants over 30 days, by COPY.

use std::fmt::Write as _;
use std::time::Instant;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio_postgres::Client;
use uuid::Uuid;
use walhook::db::Store;
use walhook::delivery::partitions::{self, DAY_MILLISECONDS};
use walhook::event::{id_floor, milliseconds};
use walhook::secret::{EncryptionKey, SigningSecret};

/// The last one is today, and full up to now.
const DAYS: u64 = 30;
/// Events of one COPY of each table.
const CHUNK: u64 = 50_000;
/// Subscriptions of a tenant that each event is sent to.
const FAN_OUT: u64 = 2;
/// Of the tenant with many.
const MANY: u64 = 1_000;
const TYPES: [&str; 12] = [
    "order.created",
    "order.updated",
    "order.shipped",
    "order.cancelled",
    "invoice.created",
    "invoice.paid",
    "invoice.overdue",
    "user.created",
    "user.updated",
    "user.deleted",
    "payment.received",
    "payment.failed",
];
/// One event in ten thousand.
pub(crate) const RARE: &str = "contract.signed";

/// A tenant's number and how many subscriptions it has.
pub(crate) fn subscriptions_of(tenant: u64) -> u64 {
    match tenant {
        0 => 20,
        1 => 10,
        2 => MANY,
        _ => 2 + tenant % 4,
    }
}

pub(crate) fn name(tenant: u64) -> String {
    format!("t{tenant}")
}

/// Its `number`th subscription, the first of which is the largest tenant's busiest.
pub(crate) fn subscription(tenant: u64, number: u64) -> Uuid {
    Uuid::from_u64_pair(0x0190_0000_0000_7000 | tenant, 1 << 63 | number)
}

/// 30 % are the first one's, 10 % the second's, 3 % of the one with many subscriptions; the
/// others have fewer the higher their number.
fn tenant_of(random: u64, tenants: u64) -> u64 {
    match random % 100 {
        0..30 => 0,
        30..40 => 1,
        40..43 => 2,
        _ => {
            let others = tenants.saturating_sub(3).max(1);
            let share = (random >> 32) as f64 / f64::from(u32::MAX);
            3 + ((share.powi(3) * others as f64) as u64).min(others - 1)
        }
    }
}

/// SplitMix64: the same store each time.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[derive(Default)]
struct Rows {
    events: String,
    deliveries: String,
    attempts: String,
    schedule: String,
}

pub(crate) async fn fill(
    client: &Client,
    store: &Store,
    key: &EncryptionKey,
    rows: u64,
    tenants: u64,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let now = milliseconds(jiff::Timestamp::now());
    let first = (now / DAY_MILLISECONDS + 1 - DAYS) * DAY_MILLISECONDS;
    let owner = store.get().await?;
    let days = (0..=DAYS).map(|day| id_floor(first + day * DAY_MILLISECONDS));
    partitions::ensure(&owner, days).await?;
    drop(owner);
    client
        .batch_execute("set synchronous_commit = off; set search_path = walhook")
        .await?;
    subscribe(client, key, tenants).await?;
    let events = rows / FAN_OUT;
    let mut written = 0;
    while written < events {
        let until = (written + CHUNK).min(events);
        let mut chunk = Rows::default();
        for number in written..until {
            let at = first + (now - first) * number / events;
            event(&mut chunk, number, at, now, tenants)?;
        }
        for (copy, text) in [
            (COPY_EVENTS, chunk.events),
            (COPY_DELIVERIES, chunk.deliveries),
            (COPY_ATTEMPTS, chunk.attempts),
            (COPY_SCHEDULE, chunk.schedule),
        ] {
            let sink = client.copy_in(copy).await?;
            let mut sink = std::pin::pin!(sink);
            sink.send(Bytes::from(text)).await?;
            sink.finish().await?;
        }
        written = until;
        if written % (20 * CHUNK) == 0 {
            let seconds = began.elapsed().as_secs();
            println!("  {} deliveries after {seconds} s", written * FAN_OUT);
        }
    }
    client.batch_execute(STATISTICS).await?;
    for statement in ["vacuum analyze", "checkpoint"] {
        client.batch_execute(statement).await?;
    }
    println!("filled in {} s", began.elapsed().as_secs());
    Ok(())
}

async fn subscribe(client: &Client, key: &EncryptionKey, tenants: u64) -> anyhow::Result<()> {
    let secret = SigningSecret::generate();
    for tenant in 0..tenants {
        let ids: Vec<Uuid> = (0..subscriptions_of(tenant))
            .map(|number| subscription(tenant, number))
            .collect();
        let sealed = |id: &Uuid| key.encrypt(secret.text().as_bytes(), id.as_bytes());
        let secrets: Vec<Vec<u8>> = ids.iter().map(sealed).collect();
        client
            .execute(
                "insert into webhook_subscriptions
                     (id, tenant_id, url, events, secret, secret_hint, from_lsn)
                 select id, $2, 'http://127.0.0.1:9/' || id, '{*}', secret, 'x', '0/0'
                 from unnest($1::uuid[], $3::bytea[]) as s (id, secret)",
                &[&ids, &name(tenant), &secrets],
            )
            .await?;
    }
    client
        .execute(
            "insert into tenants (tenant_id) select distinct tenant_id from webhook_subscriptions
             on conflict do nothing",
            &[],
        )
        .await?;
    Ok(())
}

const COPY_EVENTS: &str = "copy webhook_events (id, tenant_id, event_type, rule, commit_lsn,
    ordinal, rule_index, row_key, occurred_at, body, has_deliveries) from stdin";
const COPY_DELIVERIES: &str = "copy webhook_deliveries (id, event_id, subscription_id, tenant_id,
    event_type, format, status, attempts, last_http_status, last_error, created_at, delivered_at,
    first_attempt_at, first_duration_ms, first_http_status) from stdin";
const COPY_ATTEMPTS: &str = "copy webhook_attempts (delivery_id, number, tenant_id, started_at,
    duration_ms, http_status, error_class, error) from stdin";
const COPY_SCHEDULE: &str = "copy delivery_schedule (delivery_id, subscription_id, tenant_id,
    event_type, status, due_at, tried) from stdin";

fn event(
    rows: &mut Rows,
    number: u64,
    at: u64,
    now: u64,
    tenants: u64,
) -> Result<(), std::fmt::Error> {
    let random = mix(number);
    let tenant = tenant_of(random, tenants);
    let owner = name(tenant);
    let event = id(at, mix(random));
    let time = time(at);
    let event_type = match mix(random ^ 1) % 10_000 {
        0 => RARE,
        other => TYPES[other as usize % TYPES.len()],
    };
    writeln!(
        rows.events,
        "{event}\t{owner}\t{event_type}\tr\t0/{number:X}\t1\t0\tpublic.orders:{}\t{time}\t\
         {{\"type\":\"{event_type}\",\"timestamp\":\"2026-01-01T00:00:00Z\",\"data\":{{\"id\":{number},\"note\":\"{random:x}{random:x}{random:x}{random:x}\"}}}}\tt",
        number % 1_000_000
    )?;
    let count = subscriptions_of(tenant);
    for sent in 0..FAN_OUT {
        // Neighbours, so that they differ.
        let subscription_number = ((random >> 8) + sent) % count;
        let to = subscription(tenant, subscription_number);
        let fate = mix(random ^ (2 + sent)) % 1_000;
        // What the busiest one's endpoint has refused for a month.
        let fate = match (tenant, subscription_number) {
            (0, 0) => fate % 35,
            _ => fate,
        };
        let delivery = id(at, mix(random ^ (16 + sent)));
        let status = match fate {
            0..4 | 22..30 => "pending",
            4..20 => "failed",
            20 => "cancelled",
            _ => "delivered",
        };
        let failed_with = match fate % 4 {
            0 => ("500", "http_status", "the endpoint answered 500"),
            1 => ("404", "http_status", "the endpoint answered 404"),
            2 => ("\\N", "timeout", "no answer within 15 s"),
            _ => ("\\N", "connect", "connection refused"),
        };
        write!(
            rows.deliveries,
            "{delivery}\t{event}\t{to}\t{owner}\t{event_type}\tstandard\t{status}\t"
        )?;
        if status == "delivered" {
            writeln!(
                rows.deliveries,
                "1\t200\t\\N\t{time}\t{time}\t{time}\t12\t200"
            )?;
            continue;
        }
        let (http, class, error) = failed_with;
        writeln!(
            rows.deliveries,
            "2\t{http}\t{error}\t{time}\t\\N\t\\N\t\\N\t\\N"
        )?;
        for attempt in 1..=2 {
            writeln!(
                rows.attempts,
                "{delivery}\t{attempt}\t{owner}\t{time}\t12\t{http}\t{class}\t{error}"
            )?;
        }
        if status != "cancelled" {
            let due = self::time(now + 1_000 * (random % 86_400));
            writeln!(
                rows.schedule,
                "{delivery}\t{to}\t{owner}\t{event_type}\t{status}\t{due}\tt"
            )?;
        }
    }
    Ok(())
}

fn id(at: u64, random: u64) -> Uuid {
    Uuid::from_u64_pair(at << 16 | 0x7000 | (random >> 52), random >> 2 | 1 << 63)
}

fn time(at: u64) -> jiff::Timestamp {
    let at = i64::try_from(at).unwrap_or_default();
    jiff::Timestamp::from_millisecond(at).unwrap_or_default()
}

/// As walhook keeps them: days, then hours, then minutes.
const STATISTICS: &str = "
    insert into delivery_stats
    select s.id, i.at, i.minutes, s.tenant_id, 90, 88, 1, 5, 2, 1, 0, 0, 0, 1, 0,
        10, 20, 30, 20, 10, 5, 2, 1, 0, 0, 0, 0, 0, 0, 0, 1
    from webhook_subscriptions s
    cross join (
        select date_trunc('day', now(), 'UTC') - make_interval(days => n), 1440
        from generate_series(3, 30) n
        union all
        select date_trunc('hour', now(), 'UTC') - make_interval(hours => n), 60
        from generate_series(2, 48) n
        union all
        select date_trunc('minute', now(), 'UTC') - make_interval(mins => n), 1
        from generate_series(1, 90) n
    ) i (at, minutes);
    insert into subscription_results (subscription_id, tenant_id, last_success_at)
    select id, tenant_id, now() from webhook_subscriptions";
