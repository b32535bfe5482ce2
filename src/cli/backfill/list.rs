//! Backfills as text.

use std::fmt::Write as _;

use crate::backfill::job::{Job, Status};
use crate::terminal::Lines;

pub(super) fn text(jobs: &[Job]) -> Lines {
    let mut lines = Lines::default();
    if jobs.is_empty() {
        lines.line("There is no backfill yet.");
    }
    for job in jobs {
        let order = &job.order;
        lines.line(format_args!(
            "{}  {}  {}  since {:.0}",
            job.id, job.status, order.table, job.created_at
        ));
        lines.line(format_args!("    events: {}", order.rules.join(", ")));
        if let Some((column, since)) = &order.wanted.since {
            lines.line(format_args!("    {column} from {since}"));
        }
        if let Some(condition) = &order.wanted.condition {
            lines.line(format_args!("    where {condition}"));
        }
        if let Some(subscription) = order.subscription {
            lines.line(format_args!("    to {subscription} alone"));
        }
        let of = match job.status {
            Status::Running | Status::Paused | Status::Failed => {
                format!(" of about {}", number(order.estimate.max(job.rows_read)))
            }
            Status::Done | Status::Cancelled => String::new(),
        };
        lines.line(format_args!("    {}{of}", counts(job)));
        if let Some(waiting) = &job.waiting {
            lines.line(format_args!("    waits: {waiting}"));
        }
        if let Some(error) = &job.error {
            lines.line(format_args!("    {error}"));
        }
    }
    lines
}

/// What came of it.
pub(super) fn counts(job: &Job) -> String {
    let mut text = format!(
        "{} events to {} deliveries",
        number(job.events),
        number(job.deliveries)
    );
    if job.streamed > 0 {
        let _ = write!(
            text,
            ", {} that the stream had made already",
            number(job.streamed)
        );
    }
    if job.parked > 0 {
        let _ = write!(
            text,
            ", {} parked (see `walhook parked list`)",
            number(job.parked)
        );
    }
    let _ = write!(text, "; {} rows read", number(job.rows_read));
    text
}

/// With its thousands apart.
pub(in crate::cli) fn number(number: i64) -> String {
    let digits = number.abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn thousands_stand_apart() {
        for (given, expected) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(number(given), expected);
        }
    }
}
