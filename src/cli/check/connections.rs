//! Whether the logins may open as many sessions as `walhook run` does.

use anyhow::Context;

use crate::conninfo::{Client, ConnInfo};
use crate::db::{HOUSEKEEPING_CONNECTIONS, quote_identifier};
use crate::preflight::Finding;

/// To the source: the walsender, the two watches, heartbeat, reload, seed and backfill.
const SOURCE: usize = 7;

/// To the store beside the API's: enqueuer, its reader, recorder, claims, two of membership
/// and listen, two that `/readyz` and `/metrics` ask, and housekeeping.
const STORE: usize = 9 + HOUSEKEEPING_CONNECTIONS;

/// PostgreSQL's own default of `max_connections`, for all that use the server.
const USUAL: usize = 100;

/// What one process opens at most, `api` of them for the API; one login for both counts both.
fn wanted(of_source: bool, of_store: bool, api: usize) -> usize {
    let source = if of_source { SOURCE } else { 0 };
    let store = if of_store { STORE + api } else { 0 };
    source + store
}

/// Looks at the limits where `source` and `store` lead.
pub(super) async fn findings(
    source: (&Client, &ConnInfo),
    store: Option<(&Client, &ConnInfo)>,
    api: usize,
) -> Vec<Finding> {
    let shared =
        |store: &ConnInfo| source.1.is_same_database(store) && source.1.user() == store.user();
    let is_shared = store.is_some_and(|(_, store)| shared(store));
    let mut findings = vec![finding(source.0, wanted(true, is_shared, api)).await];
    if let Some((client, _)) = store.filter(|_| !is_shared) {
        findings.push(finding(client, wanted(false, true, api)).await);
    }
    findings.into_iter().flatten().collect()
}

/// `None` where there is room.
async fn finding(client: &Client, wanted: usize) -> Option<Finding> {
    match room(client).await {
        Ok((limit, _, _)) if limit >= wanted => None,
        Ok((limit, what, mend)) => Some(
            Finding::failure(
                format!("{what} allows {limit} sessions at once"),
                format!(
                    "one `walhook run` opens up to {wanted} with this login, and waits in vain \
                     for those that it cannot have"
                ),
            )
            .mend(
                mend.replace("{wanted}", &(2 * wanted).to_string())
                    .replace("{usual}", &(2 * wanted).max(USUAL).to_string()),
            ),
        ),
        Err(error) => Some(Finding::warning(
            "the limits of connections cannot be read",
            crate::terminal::chain(&error),
        )),
    }
}

/// The lowest limit, whose it is, and the statement that raises it.
async fn room(client: &Client) -> anyhow::Result<(usize, String, String)> {
    let query = include_str!("../../../sql/queries/cli/connection_limits.sql");
    let row = client
        .query_one(query, &[])
        .await
        .context("read the limits of connections")?;
    let (role, database): (String, String) = (row.try_get("role")?, row.try_get("database")?);
    let limits = [
        (
            row.try_get::<_, Option<i32>>("role_limit")?,
            format!("the role `{role}`"),
            format!(
                "alter role {} connection limit {{wanted}};",
                quote_identifier(&role)
            ),
        ),
        (
            row.try_get("database_limit")?,
            format!("the database `{database}`"),
            format!(
                "alter database {} connection limit {{wanted}};",
                quote_identifier(&database)
            ),
        ),
        (
            row.try_get("server_limit")?,
            "the server (max_connections)".to_owned(),
            "alter system set max_connections = {usual}; -- and restart PostgreSQL".to_owned(),
        ),
    ];
    let limits = limits.into_iter().filter_map(|(limit, whose, mend)| {
        let limit = usize::try_from(limit?).unwrap_or(0);
        Some((limit, whose, mend))
    });
    limits
        .min_by_key(|(limit, _, _)| *limit)
        .context("the server names no limit")
}
