//! The way of a delivery on one axis, from the commit to the last attempt.

use std::time::Duration;

use jiff::Timestamp;

use super::Found;
use crate::console::markup::{Markup, exact_time, measured};
use crate::delivery::listing::Status;

/// What happened, in its order.
pub(super) struct Timeline {
    pub(super) steps: Vec<Step>,
}

pub(super) struct Step {
    /// As a class of the style sheet.
    pub(super) kind: &'static str,
    pub(super) what: String,
    pub(super) at: Markup,
    /// Since the step before.
    pub(super) after: Option<String>,
    /// How long it took, and its part of the longest, in percent.
    pub(super) took: Option<(String, u32)>,
}

impl Timeline {
    pub(super) fn of(found: &Found, is_older: bool, now: Timestamp) -> Self {
        let Found {
            delivery, attempts, ..
        } = found;
        let mut all: Vec<(Timestamp, &'static str, String, Option<i32>)> = vec![(
            found.occurred_at,
            "commit",
            "Committed in the database".to_owned(),
            None,
        )];
        if let Some(replay) = delivery.replay_id {
            let what = format!("Asked for again, by replay {replay}");
            all.push((delivery.created_at, "stored", what, None));
        }
        if let Some(earlier) = &found.before {
            let what = match earlier.number {
                1 => "Attempt 1, shown on the page of older ones".to_owned(),
                last => format!("Attempts 1 to {last}, shown on the page of older ones"),
            };
            all.push((earlier.started_at, "stored", what, None));
        }
        for attempt in attempts {
            let kind = match attempt.error_class {
                None => "delivered",
                Some(_) => "failed",
            };
            let what = format!("Attempt {}", attempt.number);
            all.push((attempt.started_at, kind, what, Some(attempt.duration_ms)));
        }
        let next = delivery.next_attempt_at.filter(|_| !is_older);
        if let (Status::Pending, Some(at)) = (delivery.status, next) {
            let what = match at <= now {
                true => "Next attempt, due now".to_owned(),
                false => "Next attempt".to_owned(),
            };
            all.push((at.max(now), "next", what, None));
        }
        let longest = attempts.iter().map(|attempt| attempt.duration_ms).max();
        let longest = i64::from(longest.unwrap_or(0).max(1));
        let mut before: Option<Timestamp> = None;
        let steps = all.into_iter().map(|(at, kind, what, took)| {
            let since = before.map(|before| at.as_millisecond() - before.as_millisecond());
            before = Some(at);
            let percent = |took: i32| {
                let share = i64::from(took) * 100 / longest;
                u32::try_from(share.clamp(1, 100)).unwrap_or(1)
            };
            Step {
                kind,
                what,
                at: exact_time(at),
                after: since
                    .and_then(|since| u64::try_from(since).ok())
                    .map(|since| format!("+{}", measured(Duration::from_millis(since)))),
                took: took.map(|took| {
                    let length = Duration::from_millis(u64::try_from(took).unwrap_or(0));
                    (measured(length), percent(took))
                }),
            }
        });
        Timeline {
            steps: steps.collect(),
        }
    }
}
