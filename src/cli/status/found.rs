//! What is wrong with endpoints, deliveries, filters and changes, for people.

use super::render::{bytes, seconds};
use crate::delivery::problems::{
    FailingEndpoints, FailingFilters, ParkedChange, StoreProblems, UnknownTenants,
};

pub(super) fn describe(found: &StoreProblems, line: &mut impl FnMut(&str, String)) {
    let StoreProblems {
        failing_endpoints,
        dead_letters,
        failing_filters,
        parked_changes,
        unknown_tenants,
    } = found;
    endpoints(failing_endpoints, line);
    if let Some(tenant) = &dead_letters.tenant {
        line(
            "dead letters",
            format!(
                "{} within a day, most of tenant {}: {}",
                dead_letters.last_day, tenant, dead_letters.of_tenant
            ),
        );
    }
    filters(failing_filters, line);
    line(
        "parked changes",
        format!(
            "{}, {} of them within a day",
            parked_changes.total, parked_changes.last_day
        ),
    );
    for change in &parked_changes.newest {
        line("", parked_change(change));
    }
    tenants(unknown_tenants, line);
}

/// Most tenants of an application may use no webhooks: that is no problem.
fn tenants(unknown: &UnknownTenants, line: &mut impl FnMut(&str, String)) {
    if unknown.events == 0 {
        return;
    }
    let others = match unknown.of_others {
        0 => String::new(),
        events => format!(", {events} of them of tenants that are not told apart"),
    };
    line(
        "unknown tenants",
        format!(
            "{} event(s) of tenants without subscription and API token{others}",
            unknown.events
        ),
    );
    for one in &unknown.named {
        let resembles = match &one.resembles {
            Some(known) => format!(", spelt `{known}` in its subscriptions"),
            None => String::new(),
        };
        line(
            "",
            format!(
                "`{}`{resembles}: {} event(s), the last {} ago, {}",
                one.tenant,
                one.events,
                seconds(one.age_seconds),
                one.event_type
            ),
        );
    }
    more(unknown.tenants, unknown.named.len(), line);
}

fn endpoints(failing: &FailingEndpoints, line: &mut impl FnMut(&str, String)) {
    for (number, one) in failing.longest.iter().enumerate() {
        let label = if number == 0 { "failing" } else { "" };
        line(
            label,
            format!(
                "{} of tenant {} at {} for {}, breaker {}: {}",
                one.subscription,
                one.tenant,
                one.host,
                seconds(one.age_seconds),
                one.breaker,
                one.reason
                    .as_deref()
                    .unwrap_or("the reason is not recorded")
            ),
        );
    }
    more(failing.total, failing.longest.len(), line);
}

fn filters(failing: &FailingFilters, line: &mut impl FnMut(&str, String)) {
    for (number, one) in failing.newest.iter().enumerate() {
        let label = if number == 0 { "filters" } else { "" };
        line(
            label,
            format!(
                "{} of tenant {} failed {} ago, on {} event(s) so far: {}",
                one.subscription,
                one.tenant,
                seconds(one.age_seconds),
                one.events,
                one.reason
            ),
        );
    }
    more(failing.total, failing.newest.len(), line);
}

fn more(total: i64, listed: usize, line: &mut impl FnMut(&str, String)) {
    let rest = total - i64::try_from(listed).unwrap_or(total);
    if rest > 0 {
        line("", format!("and {rest} more"));
    }
}

/// A parked change on one line.
pub(in crate::cli) fn parked_change(change: &ParkedChange) -> String {
    format!(
        "{} ago, {} of {}{}{}, rule `{}`, at {}-{}: {}",
        seconds(change.age_seconds),
        change.reason,
        change.relation,
        match &change.row_key {
            Some(key) => format!(", row {}", key),
            None => String::new(),
        },
        match change.row_bytes.and_then(|bytes| u64::try_from(bytes).ok()) {
            Some(count) => format!(" of {}", bytes(count)),
            None => String::new(),
        },
        change.rule,
        change.commit_lsn,
        change.ordinal,
        change.detail
    )
}
