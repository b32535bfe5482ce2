//! What the sample application does: steady, plain SQL that knows nothing of webhooks.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::conninfo::{Client, Transaction};

/// The sample application's two customers.
pub(super) const TENANTS: [&str; 2] = ["acme", "globex"];

/// What the application did in one transaction.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) at: Timestamp,
    pub(super) tenant: &'static str,
    pub(super) text: String,
    /// False where it was rolled back: then nothing may be sent.
    pub(super) committed: bool,
}

/// One transaction of the application.
#[derive(Clone, Copy, Debug)]
enum Scene {
    /// A payment that is still pending: no event.
    NewPayment,
    SettlePayment,
    NewLead,
    UpdateLead,
    NewOrder,
    ChangeOrder,
    /// An order and its payments at once: several events of one commit.
    Checkout,
    /// A checkout that fails at its end: no event.
    RolledBack,
}

/// Does `rate` transactions a second until `stop`, and tells of each.
pub(super) async fn run(
    mut client: Client,
    rate: u32,
    work: mpsc::Sender<Work>,
    stop: CancellationToken,
) -> anyhow::Result<Client> {
    let mut tick = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
    // A slow disk makes the demo slower and no burst after it.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut opening: VecDeque<_> = TENANTS
        .iter()
        .flat_map(|tenant| {
            [Scene::NewLead, Scene::Checkout, Scene::RolledBack].map(|scene| (scene, *tenant))
        })
        .collect();
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let (scene, tenant) = opening
            .pop_front()
            .unwrap_or_else(|| (any_scene(), any(&TENANTS)));
        let done = play(&mut client, scene, tenant)
            .await
            .context("write to the sample tables; were they changed by hand?")?;
        // Nobody listens any more: the demo is about to end.
        if work.send(done).await.is_err() {
            break;
        }
    }
    Ok(client)
}

/// One more payment, whose event shows by its arrival that all before it have arrived.
pub(super) async fn last(client: &mut Client) -> anyhow::Result<()> {
    let transaction = client.transaction().await?;
    new_payment(&transaction, TENANTS[0], "succeeded").await?;
    transaction.commit().await?;
    Ok(())
}

async fn play(
    client: &mut Client,
    scene: Scene,
    tenant: &'static str,
) -> Result<Work, tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    let text = match scene {
        Scene::NewPayment => new_payment(&transaction, tenant, "pending").await?,
        Scene::SettlePayment => settle_payment(&transaction, tenant).await?,
        Scene::NewLead => new_lead(&transaction, tenant).await?,
        Scene::UpdateLead => update_lead(&transaction, tenant).await?,
        Scene::NewOrder => new_order(&transaction, tenant).await?,
        Scene::ChangeOrder => change_order(&transaction, tenant).await?,
        Scene::Checkout | Scene::RolledBack => checkout(&transaction, tenant).await?,
    };
    let committed = !matches!(scene, Scene::RolledBack);
    match committed {
        true => transaction.commit().await?,
        false => transaction.rollback().await?,
    }
    Ok(Work {
        at: Timestamp::now(),
        tenant,
        text,
        committed,
    })
}

async fn new_payment(
    transaction: &Transaction<'_>,
    tenant: &str,
    status: &str,
) -> Result<String, tokio_postgres::Error> {
    let (name, company) = (any(&NAMES), any(&COMPANIES));
    let row = transaction
        .query_one(
            include_str!("../../sql/demo/traffic/insert_payment.sql"),
            &[
                &tenant,
                &email(name, company),
                &rand::random_range(500..200_000_i64),
                &any(&["card", "sepa", "paypal"]),
                &status,
            ],
        )
        .await?;
    let amount: String = row.get(0);
    Ok(format!("insert payment of {amount} EUR, {status}"))
}

async fn settle_payment(
    transaction: &Transaction<'_>,
    tenant: &str,
) -> Result<String, tokio_postgres::Error> {
    let (status, reason) = match rand::random_range(0..100) {
        0..20 => ("failed", Some("card declined")),
        _ => ("succeeded", None),
    };
    let settled = transaction
        .query_opt(
            include_str!("../../sql/demo/traffic/settle_payment.sql"),
            &[&tenant, &status, &reason],
        )
        .await?;
    match settled {
        Some(row) => {
            let amount: String = row.get(0);
            Ok(format!(
                "update payment of {amount} EUR: pending → {status}"
            ))
        }
        None => new_payment(transaction, tenant, "pending").await,
    }
}

async fn new_lead(
    transaction: &Transaction<'_>,
    tenant: &str,
) -> Result<String, tokio_postgres::Error> {
    let (name, company) = (any(&NAMES), any(&COMPANIES));
    transaction
        .execute(
            include_str!("../../sql/demo/traffic/insert_lead.sql"),
            &[&tenant, &name, &email(name, company), &company],
        )
        .await?;
    Ok(format!("insert lead {name}"))
}

async fn update_lead(
    transaction: &Transaction<'_>,
    tenant: &str,
) -> Result<String, tokio_postgres::Error> {
    let status = any(&["qualified", "converted", "lost"]);
    let updated = transaction
        .query_opt(
            include_str!("../../sql/demo/traffic/update_lead.sql"),
            &[&tenant, &status],
        )
        .await?;
    match updated {
        Some(row) => {
            let name: String = row.get(0);
            Ok(format!("update lead {name}: new → {status}"))
        }
        None => new_lead(transaction, tenant).await,
    }
}

async fn new_order(
    transaction: &Transaction<'_>,
    tenant: &str,
) -> Result<String, tokio_postgres::Error> {
    let row = transaction
        .query_one(
            include_str!("../../sql/demo/traffic/insert_order.sql"),
            &[&tenant, &rand::random_range(10_000..900_000_i64)],
        )
        .await?;
    let number: String = row.get(0);
    Ok(format!("insert order {number}, draft"))
}

async fn change_order(
    transaction: &Transaction<'_>,
    tenant: &str,
) -> Result<String, tokio_postgres::Error> {
    let (status, reason) = match rand::random_range(0..100) {
        0..25 => ("cancelled", Some("customer changed their mind")),
        _ => ("confirmed", None),
    };
    let changed = transaction
        .query_opt(
            include_str!("../../sql/demo/traffic/change_order.sql"),
            &[&tenant, &status, &reason],
        )
        .await?;
    match changed {
        Some(row) => {
            let number: String = row.get(0);
            Ok(format!("update order {number}: draft → {status}"))
        }
        None => new_order(transaction, tenant).await,
    }
}

async fn checkout(
    transaction: &Transaction<'_>,
    tenant: &str,
) -> Result<String, tokio_postgres::Error> {
    let order = new_order(transaction, tenant).await?;
    let payments = rand::random_range(1..=3);
    for _ in 0..payments {
        new_payment(transaction, tenant, "succeeded").await?;
    }
    Ok(format!("{order}; insert {payments} payments, succeeded"))
}

fn any_scene() -> Scene {
    match rand::random_range(0..100) {
        0..20 => Scene::NewPayment,
        20..45 => Scene::SettlePayment,
        45..56 => Scene::NewLead,
        56..66 => Scene::UpdateLead,
        66..78 => Scene::NewOrder,
        78..90 => Scene::ChangeOrder,
        90..96 => Scene::Checkout,
        _ => Scene::RolledBack,
    }
}

fn any<T: Copy>(of: &[T]) -> T {
    of[rand::random_range(0..of.len())]
}

fn email(name: &str, company: &str) -> String {
    let word = |text: &str| text.split(' ').next().unwrap_or_default().to_lowercase();
    format!("{}@{}.example", word(name), word(company))
}

const NAMES: [&str; 10] = [
    "Ada Lovelace",
    "Grace Hopper",
    "Edsger Dijkstra",
    "Barbara Liskov",
    "Donald Knuth",
    "Frances Allen",
    "Tony Hoare",
    "Katherine Johnson",
    "Michael Stonebraker",
    "Radia Perlman",
];

const COMPANIES: [&str; 6] = [
    "Initech",
    "Umbrella Foods",
    "Stark Solar",
    "Wayne Logistics",
    "Tyrell Optics",
    "Hooli",
];
