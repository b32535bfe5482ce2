//! The instances that run, or were heard of lately.

use anyhow::Context;
use serde::Serialize;

use super::SILENT;
use crate::conninfo::Client;

#[derive(Debug, Serialize)]
pub(super) struct Instance {
    pub(super) id: uuid::Uuid,
    pub(super) hostname: String,
    pub(super) version: String,
    pub(super) roles: Vec<String>,
    pub(super) leader: bool,
    /// To how many subscriptions it alone sends.
    pub(super) subscriptions: i64,
    /// Which rules it has, where it captures; the same text means the same rules.
    pub(super) rules: Option<String>,
    /// Since it read them.
    pub(super) rules_seconds: Option<f64>,
    pub(super) up_seconds: f64,
    pub(super) silent_seconds: f64,
    /// How far its clock is ahead of the store's; negative: behind. None before its first
    /// heartbeat.
    pub(super) clock_skew_seconds: Option<f64>,
}

pub(super) async fn read(
    client: &Client,
    leader: Option<uuid::Uuid>,
) -> anyhow::Result<Vec<Instance>> {
    let query = include_str!("../../../sql/queries/cli/list_instances.sql");
    let rows = client
        .query(query, &[])
        .await
        .context("list the instances")?;
    let instance = |row: &tokio_postgres::Row| Instance {
        id: row.get("id"),
        hostname: row.get("hostname"),
        version: row.get("version"),
        roles: row.get("roles"),
        leader: leader == Some(row.get("id")),
        subscriptions: row.get("subscriptions"),
        rules: row.get("rules_hash"),
        rules_seconds: row.get("rules_seconds"),
        up_seconds: row.get("up_seconds"),
        silent_seconds: row.get("silent_seconds"),
        clock_skew_seconds: row.get("clock_skew_seconds"),
    };
    Ok(rows.iter().map(instance).collect())
}

/// Whoever takes over the slot would make other events of the same log.
pub(super) fn differing_rules(instances: &[Instance]) -> Option<String> {
    let mut rules: Vec<&str> = instances
        .iter()
        .filter(|instance| instance.silent_seconds < SILENT)
        .filter(|instance| instance.roles.iter().any(|role| role == "capture"))
        .filter_map(|instance| instance.rules.as_deref())
        .collect();
    rules.sort_unstable();
    rules.dedup();
    (rules.len() > 1).then(|| {
        format!(
            "the instances that capture have different rules ({}): give all the same files, and send each SIGHUP",
            rules.join(", ")
        )
    })
}
