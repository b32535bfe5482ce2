//! The status for people.

use super::Status;
use super::found;
use crate::clock::Skew;
use crate::delivery::problems::StoreProblems;
use crate::terminal::Lines;

pub(super) fn text(status: &Status) -> Lines {
    let mut lines = Lines::default();
    let mut line = |label: &str, value: String| lines.line(format_args!("{label:<16}{value}"));
    if let Some(slot) = &status.slot {
        let reader = match slot.active_pid {
            Some(pid) => format!("read through the walsender with pid {pid}"),
            None => "read by nobody".to_owned(),
        };
        let state = slot.wal_status.as_deref().unwrap_or("unknown");
        line("slot", format!("{} ({state}), {reader}", slot.name));
        line("  lag", bytes(slot.lag_bytes));
        let safe = match slot.safe_bytes {
            None => "without limit".to_owned(),
            Some(left) => format!(
                "{} more until it is in danger",
                bytes(u64::try_from(left).unwrap_or(0))
            ),
        };
        line(
            "  retained",
            format!("{}, {safe}", bytes(slot.retained_bytes)),
        );
    }
    if let Some(progress) = &status.progress {
        line(
            "progress",
            format!(
                "{} acknowledged, last commit {}, recorded {} ago",
                progress.acknowledged_lsn,
                progress.commit_lsn,
                seconds(progress.age_seconds)
            ),
        );
    }
    for instance in &status.instances {
        let leader = if instance.leader {
            ", holds the slot"
        } else {
            ""
        };
        let sends = match instance.subscriptions {
            0 => String::new(),
            1 => ", sends to 1 subscription".to_owned(),
            more => format!(", sends to {more} subscriptions"),
        };
        line(
            "instance",
            format!(
                "{} {} {} ({}){leader}{sends}, {}up {}, heard of {} ago{}",
                instance.hostname,
                instance.version,
                instance.id,
                instance.roles.join(", "),
                match (&instance.rules, instance.rules_seconds) {
                    (Some(rules), Some(age)) =>
                        format!("rules {rules} read {} ago, ", seconds(age)),
                    _ => String::new(),
                },
                seconds(instance.up_seconds),
                seconds(instance.silent_seconds),
                match instance.clock_skew_seconds {
                    Some(skew) => format!(", its clock {} the store's", Skew(skew)),
                    None => String::new(),
                }
            ),
        );
    }
    if let Some(skew) = status.source_clock_skew_seconds {
        let skew = Skew(skew);
        line("clocks", format!("the source's is {skew} the store's"));
    }
    for table in &status.shadow {
        let state = match &table.complete_at_lsn {
            Some(lsn) if table.state == "complete" => format!("complete since {lsn}"),
            _ => format!(
                "seeding, {} rows so far; rules that need it wait",
                table.seeded_rows
            ),
        };
        line(
            "old values",
            format!("{} ({}): {state}", table.table, table.columns.join(", ")),
        );
    }
    for rule in &status.shadow_rules {
        line(
            "",
            format!("rule `{}`, active from {}", rule.rule, rule.active_from_lsn),
        );
    }
    if let Some(queue) = &status.queue {
        line(
            "waiting",
            format!(
                "{} pending, {} in flight, {} parked, {} failed{}",
                queue.pending,
                queue.in_flight,
                queue.parked,
                queue.failed,
                match queue.oldest_due_seconds {
                    Some(age) => format!("; the oldest has been due for {}", seconds(age)),
                    None => String::new(),
                }
            ),
        );
    }
    if let Some(subscriptions) = &status.subscriptions {
        line(
            "subscriptions",
            format!(
                "{} active, {} disabled",
                subscriptions.active, subscriptions.disabled
            ),
        );
        for one in &subscriptions.unreadable {
            line(
                "  unreadable",
                format!("{} of tenant {}: {}", one.id, one.tenant_id, one.reason),
            );
        }
    }
    if let Some(found) = &status.found {
        found::describe(found, &mut line);
    }
    if let Some(gaps) = &status.gaps {
        let newest = gaps.newest.as_ref().map(|gap| {
            format!(
                "; the newest {} ago, from {} to {}: {}",
                seconds(gap.age_seconds),
                gap.from_lsn,
                gap.to_lsn,
                gap.reason
            )
        });
        line(
            "gaps",
            format!(
                "{} open, {} accepted{}",
                gaps.open.len(),
                gaps.accepted,
                newest.unwrap_or_default()
            ),
        );
        for gap in &gaps.open {
            line(
                "",
                format!(
                    "open for {}, from {} {}: {}",
                    seconds(gap.age_seconds),
                    gap.from_lsn,
                    gap.to_lsn
                        .as_ref()
                        .map_or_else(|| "on".to_owned(), |to| format!("to {to}")),
                    gap.reason
                ),
            );
        }
    }
    for problem in &status.problems {
        lines.line(format_args!("PROBLEM         {}", problem.text));
    }
    if status.problems.is_empty() {
        let failing = |found: &StoreProblems| found.failing_endpoints.total > 0;
        lines.line(match status.found.as_ref().is_some_and(failing) {
            true => "No problem so far: the endpoints above began to fail less than a minute ago.",
            false => "All is well.",
        });
    }
    lines
}

/// `12.5 MiB`.
pub(super) fn bytes(number: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| number >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", number as f64 / *unit as f64),
        None => format!("{number} bytes"),
    }
}

/// `45 s`, `12 min`, `3 h`, `5 days`.
pub(super) fn seconds(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3_600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_well() {
        assert_eq!(bytes(512), "512 bytes");
        assert_eq!(bytes(12_582_912 + 524_288), "12.5 MiB");
        assert_eq!(seconds(0.4), "0 s");
        assert_eq!(seconds(600.0), "10 min");
        assert_eq!(seconds(864_000.0), "10 days");
    }
}
