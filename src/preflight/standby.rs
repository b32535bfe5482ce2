//! What capture from a standby needs, there and at its primary.

use anyhow::Context;

use super::finding::Finding;
use crate::conninfo::{Client, ConnInfo, Purpose, column};
use crate::db::quote_identifier;
use crate::replication::slot;
use crate::source::server::Server;
use crate::source::standby_copies::{self, SlotCopy};
use crate::terminal::chain;

/// Logical decoding on standbys came with 16.
const OLDEST_VERSION: i32 = 160_000;

/// Nothing where the source is no standby.
pub(super) async fn findings(
    client: &Client,
    conninfo: &ConnInfo,
    server: &Server,
) -> Vec<Finding> {
    if !server.in_recovery {
        return Vec::new();
    }
    if server.version_number < OLDEST_VERSION {
        return vec![Finding::failure(
            "the source is a standby",
            format!(
                "PostgreSQL {} cannot decode on a standby, 16 and later can: point source.url at the primary",
                server.version
            ),
        )];
    }
    let Some(primary) = conninfo.primary() else {
        return vec![Finding::failure(
            "the source is a standby",
            "what must be written needs its primary: set source.primary_url, or point source.url there",
        )];
    };
    let mut findings = match settings(client).await {
        Ok(findings) => findings,
        Err(error) => vec![Finding::failure(
            "the standby's settings cannot be read",
            chain(&error),
        )],
    };
    findings.push(match of_primary(client, primary).await {
        Ok(finding) => finding,
        Err(error) => Finding::failure("source.primary_url cannot be used", chain(&error)),
    });
    findings
}

async fn settings(client: &Client) -> anyhow::Result<Vec<Finding>> {
    let query = include_str!("../../sql/queries/preflight/standby_settings.sql");
    let row = client.query_one(query, &[]).await?;
    let mut findings = Vec::new();
    if column(&row, "feedback")? {
        findings.push(Finding::ok(
            "the source is a standby with hot_standby_feedback",
        ));
    } else {
        findings.push(
            Finding::failure(
                "hot_standby_feedback is off on the standby",
                "the primary removes rows of its catalog that the slot still needs, and the slot is invalidated",
            )
            .mend("alter system set hot_standby_feedback = on;")
            .mend("select pg_reload_conf();"),
        );
    }
    if column::<&str, _>(&row, "primary_slot")?.is_empty() {
        findings.push(Finding::warning(
            "primary_slot_name is not set on the standby",
            "while the standby is away its primary removes the WAL that it needs, and rows that the slot needs: \
             give it a physical slot on the primary",
        ));
    }
    Ok(findings)
}

async fn of_primary(client: &Client, primary: &ConnInfo) -> anyhow::Result<Finding> {
    let query = include_str!("../../sql/queries/preflight/standby_primary.sql");
    let own = client.query_one(query, &[]).await?;
    let connected = primary.connect(Purpose::Inspection("check"), None).await;
    let connected = connected.with_context(|| format!("reach {}", primary.describe()))?;
    let row = connected.query_one(query, &[]).await?;
    if column(&row, "in_recovery")? {
        return Ok(Finding::failure(
            "source.primary_url leads to a standby too",
            "name the primary; with several hosts and target_session_attrs=read-write it is found",
        ));
    }
    if column::<&str, _>(&own, "system_identifier")?
        != column::<&str, _>(&row, "system_identifier")?
    {
        return Ok(Finding::failure(
            "source.primary_url leads to another PostgreSQL system than source.url",
            "name the primary that the standby follows",
        ));
    }
    if column::<&str, _>(&row, "wal_level")? != "logical" {
        return Ok(Finding::failure(
            "wal_level of the primary is not `logical`",
            "the standby decodes what its primary writes; the setting takes effect after a restart",
        )
        .mend("alter system set wal_level = 'logical';"));
    }
    if !column::<bool, _>(&row, "may_log_snapshot")? {
        let role = quote_identifier(column(&row, "role")?);
        return Ok(Finding::warning(
            "the primary does not let us log a snapshot",
            "a slot on a standby is made at the next snapshot in the WAL, which a quiet primary writes late: setup \
             may have to wait",
        )
        .mend(format!(
            "grant execute on function pg_log_standby_snapshot() to {role};"
        )));
    }
    Ok(Finding::ok(
        "source.primary_url leads to the standby's primary",
    ))
}

/// What a promoted standby could go on with.
pub(super) async fn failover(client: &Client, server: &Server) -> anyhow::Result<Option<Finding>> {
    let query = include_str!("../../sql/queries/preflight/failover_settings.sql");
    let row = client.query_one(query, &[]).await?;
    if server.in_recovery {
        return Ok(None);
    }
    let missing: Vec<String> = column(&row, "missing")?;
    if !missing.is_empty() {
        return Ok(Some(
            Finding::failure(
                format!(
                    "synchronized_standby_slots names {}, which does not exist",
                    missing.join(", ")
                ),
                "the server sends walhook nothing before that standby has it. After a fail-over name the standbys that \
                 there are now",
            )
            .mend("alter system set synchronized_standby_slots = '';")
            .mend("select pg_reload_conf();"),
        ));
    }
    // Without a standby there is nothing to fail over to.
    if column::<i64, _>(&row, "standbys")? == 0 {
        return Ok(None);
    }
    let synchronized: Option<&str> = column(&row, "synchronized")?;
    Ok(Some(match synchronized {
        None => Finding::warning(
            format!("PostgreSQL {} keeps no slots on standbys", server.version),
            "after a fail-over the slot is missing, and what was committed and not read by then is a gap; 17 and later \
             keep it",
        ),
        Some("") => Finding::warning(
            "synchronized_standby_slots is not set",
            "walhook may send what the standby has not received yet: after a fail-over that is a gap. Name the \
             standbys' physical slots, and on the standbys set sync_replication_slots, hot_standby_feedback, \
             primary_slot_name, and a dbname in primary_conninfo",
        ),
        Some(names) => Finding::ok(format!(
            "the slot waits for the standbys of synchronized_standby_slots: {names} (whether they keep a copy of it \
             is seen where source.url names them too)"
        )),
    }))
}

/// Whether the standbys that the URL names could go on with the slot, once there is one that
/// they may copy.
pub(crate) async fn copies(client: &Client, conninfo: &ConnInfo, slot: &str) -> Vec<Finding> {
    // What is wrong with the slot is a finding of its own.
    let state = slot::inspect(client, slot).await.ok().flatten();
    if !state.is_some_and(|state| state.failover) {
        return Vec::new();
    }
    let copies = standby_copies::of_standbys(conninfo, slot, "check").await;
    let finding = |(address, copy): (String, SlotCopy)| match copy.problem(&address) {
        None => Finding::ok(format!("the standby {address} keeps a copy of the slot")),
        Some((what, why)) => Finding::warning(what, why),
    };
    copies.into_iter().map(finding).collect()
}
