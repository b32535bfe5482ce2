//! What the store says is wrong with endpoints, deliveries, filters and changes: what
//! `walhook status`, `/readyz` and the metrics show. None of it keeps an instance from its work.

use anyhow::Context;
use serde::{Serialize, Serializer};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::conninfo::Queries;
use crate::event::SubscriptionId;
use crate::health::{Problem, ProblemKind};
use crate::lsn::Lsn;
use crate::subscription::host;

#[derive(Debug, Serialize)]
pub struct StoreProblems {
    pub failing_endpoints: FailingEndpoints,
    pub dead_letters: DeadLetters,
    pub failing_filters: FailingFilters,
    #[serde(rename = "parked")]
    pub parked_changes: ParkedChanges,
    pub unknown_tenants: UnknownTenants,
}

/// Endpoints whose last attempts failed.
#[derive(Debug, Serialize)]
pub struct FailingEndpoints {
    pub total: i64,
    /// Those that have done nothing but fail for a minute or more: a problem. Before, a
    /// receiver that is restarted would be one.
    pub for_a_minute: i64,
    /// Those that have failed for the longest time, at most 20.
    pub longest: Vec<FailingEndpoint>,
}

#[derive(Debug, Serialize)]
pub struct FailingEndpoint {
    #[serde(serialize_with = "as_text")]
    pub subscription: SubscriptionId,
    pub tenant: String,
    /// Alone of the URL: path and query are often secret.
    pub host: String,
    #[serde(serialize_with = "as_text")]
    pub since: jiff::Timestamp,
    pub age_seconds: f64,
    pub breaker: String,
    /// The class and the message of the first failure.
    pub reason: Option<String>,
}

/// Deliveries that failed for good within the last day and were not sent again.
#[derive(Debug, Default, Serialize)]
pub struct DeadLetters {
    pub last_day: i64,
    /// The tenant with most of them.
    pub tenant: Option<String>,
    pub of_tenant: i64,
}

/// Subscriptions whose filter failed within the last hour.
#[derive(Debug, Serialize)]
pub struct FailingFilters {
    pub total: i64,
    /// At most 20.
    pub newest: Vec<FailingFilter>,
}

#[derive(Debug, Serialize)]
pub struct FailingFilter {
    #[serde(serialize_with = "as_text")]
    pub subscription: SubscriptionId,
    pub tenant: String,
    pub reason: String,
    /// Events that were not sent for it, since the filter was set.
    pub events: i64,
    pub age_seconds: f64,
}

/// Which of the parked changes; all of them by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct ParkedFilter<'a> {
    /// The rule's name, or its type where it has no name.
    pub rule: Option<&'a str>,
    pub relation: Option<&'a str>,
    pub reason: Option<&'a str>,
    pub since: Option<jiff::Timestamp>,
}

/// Changes that matched a rule and could not be sent.
#[derive(Debug, Serialize)]
pub struct ParkedChanges {
    pub total: i64,
    pub last_day: i64,
    pub newest: Vec<ParkedChange>,
}

#[derive(Debug, Serialize)]
pub struct ParkedChange {
    #[serde(serialize_with = "as_text")]
    pub commit_lsn: Lsn,
    pub ordinal: i64,
    pub rule: String,
    pub relation: String,
    pub reason: String,
    pub detail: String,
    pub row_key: Option<String>,
    pub row_bytes: Option<i64>,
    pub age_seconds: f64,
}

/// Tenants of events of the last day that have neither a subscription nor an API token.
#[derive(Debug, Serialize)]
pub struct UnknownTenants {
    /// Of all of them.
    pub events: i64,
    /// Those that are told apart.
    pub tenants: i64,
    /// Events of the others.
    pub of_others: i64,
    /// Those whose spelling alone differs from that of a tenant with a subscription, and that
    /// had an event within the last hour.
    pub resembling: i64,
    /// At most 10, beginning with those that resemble another.
    pub named: Vec<UnknownTenant>,
}

#[derive(Debug, Serialize)]
pub struct UnknownTenant {
    pub tenant: String,
    /// The tenant with a subscription that may be meant.
    pub resembles: Option<String>,
    /// Of the last event.
    pub event_type: String,
    pub events: i64,
    pub age_seconds: f64,
}

/// Where subscriptions cannot be decrypted or read; names none.
pub async fn unreadable(store: &impl Queries) -> anyhow::Result<Option<Problem>> {
    let sql = include_str!("../../sql/queries/delivery/count_unreadable.sql");
    let row = store.query_one(sql, &[]).await;
    let count: i64 = row
        .context("count the subscriptions that cannot be read")?
        .get(0);
    let text = || {
        format!(
            "{count} subscription(s) cannot be read, and what is due to them waits: `walhook status` \
             names them, with tenant and reason"
        )
    };
    Ok((count > 0).then(|| ProblemKind::UnreadableSubscriptions.because(text())))
}

/// Reads what is wrong. One connection for a moment: a few short queries.
pub async fn read(store: &impl Queries) -> anyhow::Result<StoreProblems> {
    let rows = store
        .query(
            include_str!("../../sql/queries/delivery/failing_endpoints.sql"),
            &[],
        )
        .await
        .context("list the endpoints that fail")?;
    let failing_endpoints = FailingEndpoints {
        total: total(&rows),
        for_a_minute: rows.first().map_or(0, |row| row.get("for_a_minute")),
        longest: rows.iter().map(FailingEndpoint::of).collect(),
    };
    let most = store
        .query(
            include_str!("../../sql/queries/delivery/dead_letters.sql"),
            &[],
        )
        .await
        .context("count the deliveries that failed for good")?;
    let dead_letters = most
        .first()
        .map_or_else(DeadLetters::default, |row| DeadLetters {
            last_day: row.get("total"),
            tenant: row.get("tenant_id"),
            of_tenant: row.get("deliveries"),
        });
    let rows = store
        .query(
            include_str!("../../sql/queries/delivery/failing_filters.sql"),
            &[],
        )
        .await
        .context("list the filters that fail")?;
    let failing_filters = FailingFilters {
        total: total(&rows),
        newest: rows.iter().map(FailingFilter::of).collect(),
    };
    Ok(StoreProblems {
        failing_endpoints,
        dead_letters,
        failing_filters,
        parked_changes: ParkedChanges::read(store, &ParkedFilter::default(), NEWEST).await?,
        unknown_tenants: UnknownTenants::read(store).await?,
    })
}

/// Parked changes that are shown.
const NEWEST: i64 = 5;

/// Where the reader of a problem's text finds the names of tenants and hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// In the same status.
    Beside,
    /// In `walhook status` alone: `/readyz` may be reached by others than the operator.
    InStatus,
}

impl StoreProblems {
    /// One for each kind that there is. The texts name no tenant and no host.
    pub fn problems(&self, names: Names) -> Vec<Problem> {
        let see = |what: &'static str| match names {
            Names::Beside => String::new(),
            Names::InStatus => format!(": `walhook status` names {what}"),
        };
        let endpoints = |count: i64| {
            format!(
                "{count} endpoint(s) have done nothing but fail for a minute or more{}. What is due \
                 to them is tried again by delivery.retry_schedule; once a receiver answers with \
                 2xx nothing is to be done",
                see("them, with tenant, host and reason")
            )
        };
        let dead_letters = |count: i64| {
            format!(
                "{count} delivery(s) failed for good within a day{}. When the receiver is well \
                 again, send them by POST /deliveries/retry",
                see("the tenant with most")
            )
        };
        let filters = |count: i64| {
            format!(
                "the filter of {count} subscription(s) failed within the hour, and what it failed \
                 on was not sent{}. Correct the filter by PATCH /subscriptions/{{id}}, and send \
                 what it failed on by POST /subscriptions/{{id}}/replay",
                see("them, with tenant and reason")
            )
        };
        let parked = |count: i64| {
            format!(
                "{count} change(s) were parked within a day and not sent: `walhook parked list` \
                 says why. Correct the rule, then `walhook parked retry`, which maps the row as it \
                 was committed, or `walhook parked discard`"
            )
        };
        let resembling = |count: i64| {
            format!(
                "{count} tenant(s) had events within the hour that were not sent, and differ only \
                 in their spelling from a tenant with a subscription{}. Correct the rule's \
                 `tenant`, or subscribe for the tenant as the rows spell it",
                see("both")
            )
        };
        let found = [
            (
                ProblemKind::FailingEndpoints,
                self.failing_endpoints.for_a_minute,
                &endpoints as &dyn Fn(i64) -> String,
            ),
            (
                ProblemKind::DeadLetters,
                self.dead_letters.last_day,
                &dead_letters,
            ),
            (
                ProblemKind::FailingFilters,
                self.failing_filters.total,
                &filters,
            ),
            (
                ProblemKind::ParkedChanges,
                self.parked_changes.last_day,
                &parked,
            ),
            (
                ProblemKind::TenantMismatch,
                self.unknown_tenants.resembling,
                &resembling,
            ),
        ];
        let found = found.into_iter().filter(|(_, count, _)| *count > 0);
        found
            .map(|(kind, count, text)| kind.because(text(count)))
            .collect()
    }
}

impl FailingEndpoint {
    fn of(row: &Row) -> Self {
        FailingEndpoint {
            subscription: SubscriptionId(row.get("id")),
            tenant: row.get("tenant_id"),
            host: host(row.get("url")),
            since: row.get("failing_since"),
            age_seconds: row.get("age_seconds"),
            breaker: row.get("breaker"),
            reason: row.get("failing_reason"),
        }
    }
}

impl FailingFilter {
    fn of(row: &Row) -> Self {
        FailingFilter {
            subscription: SubscriptionId(row.get("id")),
            tenant: row.get("tenant_id"),
            reason: row.get("filter_error"),
            events: row.get("filter_failures"),
            age_seconds: row.get("age_seconds"),
        }
    }
}

impl UnknownTenants {
    async fn read(store: &impl Queries) -> anyhow::Result<Self> {
        let sql = include_str!("../../sql/queries/delivery/list_unknown_tenants.sql");
        let rows = store.query(sql, &[]).await;
        let rows = rows.context("list the tenants without subscriptions")?;
        let count = |name| rows.first().map_or(0, |row| row.get(name));
        let named = rows.iter().map(UnknownTenant::of);
        Ok(UnknownTenants {
            events: count("all_events"),
            tenants: count("tenants"),
            of_others: count("of_others"),
            resembling: count("resembling"),
            // The empty one stands for those that are not told apart.
            named: named.filter(|one| !one.tenant.is_empty()).collect(),
        })
    }
}

impl UnknownTenant {
    fn of(row: &Row) -> Self {
        UnknownTenant {
            tenant: row.get("tenant_id"),
            resembles: row.get("resembles"),
            event_type: row.get("event_type"),
            events: row.get("events"),
            age_seconds: row.get("age_seconds"),
        }
    }
}

impl ParkedFilter<'_> {
    /// As the first parameters of a statement.
    pub fn parameters(&self) -> [&(dyn ToSql + Sync); 4] {
        [&self.rule, &self.relation, &self.reason, &self.since]
    }
}

impl ParkedChanges {
    /// Lists the newest, at most `limit`, and counts all of the filter.
    pub async fn read(
        store: &impl Queries,
        filter: &ParkedFilter<'_>,
        limit: i64,
    ) -> anyhow::Result<Self> {
        let sql = include_str!("../../sql/queries/delivery/list_parked_changes.sql");
        let [rule, relation, reason, since] = filter.parameters();
        let rows = store
            .query(sql, &[rule, relation, reason, since, &limit])
            .await
            .context("list the parked changes")?;
        let count = |name| rows.first().map_or(0, |row| row.get(name));
        Ok(ParkedChanges {
            total: count("total"),
            last_day: count("last_day"),
            newest: rows.iter().map(ParkedChange::of).collect(),
        })
    }
}

impl ParkedChange {
    fn of(row: &Row) -> Self {
        ParkedChange {
            commit_lsn: row.get("commit_lsn"),
            ordinal: row.get("ordinal"),
            rule: row.get("rule"),
            relation: row.get("relation"),
            reason: row.get("reason"),
            detail: row.get("detail"),
            row_key: row.get("row_key"),
            row_bytes: row.get("row_bytes"),
            age_seconds: row.get("age_seconds"),
        }
    }
}

fn total(rows: &[Row]) -> i64 {
    rows.first().map_or(0, |row| row.get("total"))
}

fn as_text<S: Serializer>(value: &impl ToString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}
