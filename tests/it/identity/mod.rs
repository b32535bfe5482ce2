//! Whether the store is the one that was set up, with the key that it was set up with, and
//! what is in it that cannot be read.

use std::path::Path;

use serde_json::Value;
use uuid::Uuid;

use crate::harness::command::Project;
use crate::harness::process::Process;
use crate::harness::walhook::Installation;
use crate::harness::{PATIENCE, http};

mod copies;
mod keys;
mod rotation;
mod unreadable;

const ROLES: [&str; 3] = ["capture", "deliver", "api"];

/// The installation's configuration with further lines of a section, in a directory of its own.
fn project(installation: &Installation, settings: &str) -> Project {
    let own = std::fs::read_to_string(installation.config_file()).unwrap();
    Project::new(&format!("{own}\n{settings}\n"))
}

/// The configuration with another key file, and perhaps the one before it.
fn with_keys(installation: &Installation, key: &Path, previous: Option<&Path>) -> Project {
    let own = std::fs::read_to_string(installation.config_file()).unwrap();
    let key_file = installation.directory.path().join("walhook.key");
    let mut line = format!("encryption_key_file = '{}'", key.display());
    if let Some(previous) = previous {
        line += &format!("\nprevious_encryption_key_file = '{}'", previous.display());
    }
    let replaced = format!("encryption_key_file = '{}'", key_file.display());
    assert!(own.contains(&replaced));
    Project::new(&own.replace(&replaced, &line))
}

/// Each role by itself ends at once, and says these.
async fn is_refused(project: &Project, says: &[&str]) {
    for role in ROLES {
        let arguments = ["run", "--roles", role];
        let run = tokio::time::timeout(PATIENCE, project.walhook(&arguments)).await;
        let answer = run.expect("it is not refused").exits(1);
        for text in says {
            assert!(answer.err.contains(text), "`{text}`: {}", answer.err);
        }
    }
}

/// Sets a column of a subscription to what SQL makes.
async fn set(installation: &Installation, id: Uuid, assignment: &str) {
    let client = installation.store.get().await.unwrap();
    let sql = format!("update webhook_subscriptions set {assignment} where id = $1");
    client.execute(&sql, &[&id]).await.unwrap();
}

/// Commits an order of acme's.
async fn order(installation: &Installation) {
    let insert = "insert into orders (tenant_id, status) values ('acme', 'new')";
    let client = &installation.database.client;
    client.batch_execute(insert).await.unwrap();
}

/// Waits until an instance has recorded so many heartbeats.
async fn wait_for_heartbeats(installation: &Installation, count: u32) {
    installation
        .wait_for(&format!(
            "exists (select from instances where heartbeats >= {count})"
        ))
        .await;
}

/// The subscriptions of acme, as the API of a process serves them.
struct Subscriptions {
    url: String,
    token: String,
}

impl Subscriptions {
    async fn at(project: &Project, process: &Process) -> Self {
        let token = project.walhook(&["token", "create", "--tenant", "acme"]);
        let token = token.await.exits(0).out.trim().to_owned();
        let base = process.api().await;
        Subscriptions {
            url: format!("{base}/api/v1/tenant/webhooks/subscriptions"),
            token,
        }
    }

    async fn create(&self, body: &Value) -> u16 {
        let request = http().post(&self.url).bearer_auth(&self.token);
        let request = request
            .header("idempotency-key", "once")
            .header("content-type", "application/json")
            .body(body.to_string());
        request.send().await.unwrap().status().as_u16()
    }

    async fn list(&self) -> Vec<Value> {
        let request = http().get(&self.url).bearer_auth(&self.token);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        let list: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        list["data"].as_array().unwrap().clone()
    }
}

/// A column of bytes, or of a list of them.
struct ColumnOfBytes {
    table: String,
    column: String,
    is_list: bool,
}

/// Every such column of the store.
async fn columns_of_bytes(installation: &Installation) -> Vec<ColumnOfBytes> {
    let client = installation.store.get().await.unwrap();
    let rows = client
        .query(
            "select class.relname::text, attribute.attname::text, attribute.atttypid = 'bytea[]'::regtype
             from pg_attribute attribute
             join pg_class class on class.oid = attribute.attrelid
             where class.relnamespace = 'walhook'::regnamespace and class.relkind in ('r', 'p')
                and not class.relispartition and attribute.attnum > 0
                and attribute.atttypid in ('bytea'::regtype, 'bytea[]'::regtype)",
            &[],
        )
        .await
        .unwrap();
    let column = |row: &tokio_postgres::Row| ColumnOfBytes {
        table: row.get(0),
        column: row.get(1),
        is_list: row.get(2),
    };
    rows.iter().map(column).collect()
}
