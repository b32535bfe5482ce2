//! Whether the store is the one that was set up, with the key that it was set up with, and
//! what is in it that cannot be read.

use std::path::Path;

use uuid::Uuid;

use crate::harness::command::Project;
use crate::harness::walhook::Installation;

mod copies;
mod keys;
mod rotation;
mod unreadable;

const ORDER: &str = "insert into orders (tenant_id, status) values ('acme', 'new')";

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
        let answer = project.walhook(&["run", "--roles", role]).await.exits(1);
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
