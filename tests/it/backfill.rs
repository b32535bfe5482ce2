//! Existing rows become events, while the stream goes on.

use std::collections::HashMap;

use crate::harness::command::{Answer, answer, walhook};
use crate::harness::receiver::Request;
use crate::harness::walhook::Installation;

mod asking;
mod faults;
mod keys;
mod streaming;

/// REPLICA IDENTITY DEFAULT, as tables are when nobody has touched them.
const ORDERS: &str = "create table orders (id bigint primary key, tenant_id text, status text not null, \
     version bigint not null default 0, note text, created_at timestamptz not null default now())";

const RULES: &str = "
[[events]]
type = 'order.created'
table = 'public.orders'
on = ['insert']
[events.data]
id = 'id'
status = 'status'
version = 'version'

[[events]]
type = 'order.paid'
table = 'public.orders'
when = \"became(status = 'paid')\"
[events.data]
id = 'id'
version = 'version'
";

/// Installed on the orders and their rules, after what `rows` writes.
async fn with_rows(rows: &str) -> Installation {
    let tables = format!("{ORDERS}; {rows}");
    Installation::create(&tables, RULES, "").await
}

/// Runs `walhook backfill`, to its end.
async fn backfill(walhook_: &Installation, arguments: &[&str]) -> Answer {
    command(walhook_, "backfill", arguments).await
}

pub async fn command(installed: &Installation, name: &str, arguments: &[&str]) -> Answer {
    let mut command = walhook();
    command
        .arg("--config")
        .arg(installed.config_file())
        .arg(name)
        .args(arguments);
    let output = tokio::time::timeout(std::time::Duration::from_secs(90), command.output());
    answer(output.await.expect("it ends").unwrap())
}

/// How often each row was told of, by the value of `id` in the data.
fn told(requests: &[Request], event_type: &str) -> HashMap<String, usize> {
    let mut told = HashMap::new();
    for request in requests {
        let event = request.json();
        if event["type"] == event_type {
            *told.entry(event["data"]["id"].to_string()).or_default() += 1;
        }
    }
    told
}

/// Ids from 1 to `count`, each once.
fn once_each(count: usize) -> HashMap<String, usize> {
    (1..=count).map(|id| (id.to_string(), 1)).collect()
}
