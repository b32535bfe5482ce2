//! Whether the clocks of the instances, the store and the source agree.

use super::SILENT;
use super::instances::Instance;
use crate::clock::{Severity, Skew};

/// What is wrong with the clocks of those that run.
pub(super) fn of_instances(instances: &[Instance]) -> Vec<String> {
    let running = instances.iter().filter(|one| one.silent_seconds < SILENT);
    let problem = |instance: &Instance| {
        let skew = Skew(instance.clock_skew_seconds?);
        let is_ahead = format!(
            "the clock of {} (instance {}) is {skew} the store's",
            instance.hostname, instance.id
        );
        match skew.severity() {
            Severity::None => None,
            Severity::Noticeable => Some(format!("{is_ahead}: synchronise both by NTP")),
            Severity::Rejected => Some(format!(
                "{is_ahead}: receivers reject what it sends, as its `webhook-timestamp` may be at \
                 most 5 min off; synchronise both by NTP"
            )),
        }
    };
    running.filter_map(problem).collect()
}

/// What is wrong between the source, whose clock says when something was committed, and the
/// store.
pub(super) fn of_source(skew: Skew) -> Option<String> {
    match skew.severity() {
        Severity::None => None,
        Severity::Noticeable | Severity::Rejected => Some(format!(
            "the source's clock is {skew} the store's: events are timed and kept by the one, \
             deliveries by the other; synchronise both by NTP"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(clock_skew_seconds: Option<f64>, silent_seconds: f64) -> Instance {
        Instance {
            id: uuid::Uuid::nil(),
            hostname: "node-1".to_owned(),
            version: String::new(),
            roles: Vec::new(),
            leader: false,
            subscriptions: 0,
            rules: None,
            rules_seconds: None,
            up_seconds: 0.0,
            silent_seconds,
            clock_skew_seconds,
        }
    }

    #[test]
    fn skew_is_a_problem_from_30_s_on_and_from_5_min_on_for_receivers() {
        for (skew, silent, expected) in [
            (None, 0.0, None),
            (Some(29.0), 0.0, None),
            (
                Some(-31.0),
                0.0,
                Some("31 s behind the store's: synchronise"),
            ),
            (
                Some(299.0),
                0.0,
                Some("5 min ahead of the store's: synchronise"),
            ),
            (Some(301.0), 0.0, Some("receivers reject what it sends")),
            // Of one that runs no more.
            (Some(301.0), 60.0, None),
        ] {
            let problems = of_instances(&[instance(skew, silent)]);
            let said = problems.first().map(String::as_str);
            assert_eq!(said.is_some(), expected.is_some(), "{skew:?}: {said:?}");
            let expected = expected.unwrap_or_default();
            assert!(said.unwrap_or_default().contains(expected), "{said:?}");
        }
    }

    #[test]
    fn a_source_whose_clock_differs_is_named() {
        assert_eq!(of_source(Skew(-1.0)), None);
        let problem = of_source(Skew(3_600.0)).unwrap();
        assert!(problem.contains("60 min ahead of the store's"), "{problem}");
    }
}
