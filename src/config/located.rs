//! Where what is wrong with rules is to be fixed.

use crate::mapping::file::{RuleConfig, RuleError, TENANT_HINT};

use super::document::RulePlace;
use super::{Place, Problem};

/// One problem for each error; but one in all where `defaults.tenant`, which stands at
/// `default_tenant`, does not fit several rules that have no `tenant` of their own.
pub(super) fn problems(
    events: &[RuleConfig],
    places: &[RulePlace],
    default_tenant: &Place,
    errors: &[RuleError],
) -> Vec<Problem> {
    let is_of_default = |error: &&RuleError| {
        let rule = events.get(error.index);
        error.key == "tenant" && rule.is_some_and(|rule| rule.tenant.is_none())
    };
    let of_default: Vec<&RuleError> = errors.iter().filter(is_of_default).collect();
    if of_default.len() < 2 {
        return errors.iter().map(|error| located(places, error)).collect();
    }
    let mut problems = vec![Problem {
        place: default_tenant.clone(),
        key: "defaults.tenant".to_owned(),
        message: misfits(&of_default),
    }];
    let others = errors.iter().filter(|error| !is_of_default(error));
    problems.extend(others.map(|error| located(places, error)));
    problems
}

/// What is wrong, each time with the rules that it is wrong for.
fn misfits(errors: &[&RuleError]) -> String {
    let mut told: Vec<(&str, Vec<&str>)> = Vec::new();
    for error in errors {
        let message = error.message.as_str();
        let message = message.strip_suffix(TENANT_HINT).unwrap_or(message);
        match told.iter_mut().find(|(known, _)| *known == message) {
            Some((_, rules)) => rules.push(&error.rule),
            None => told.push((message, vec![&error.rule])),
        }
    }
    let told = told.iter().map(|(message, rules)| match rules[..] {
        [rule] => format!("{message} (rule `{rule}`)"),
        _ => format!("{message} (rules `{}`)", rules.join("`, `")),
    });
    format!(
        "does not fit {} rules that have no `tenant` of their own: {}",
        errors.len(),
        told.collect::<Vec<_>>().join("; ")
    )
}

fn located(places: &[RulePlace], error: &RuleError) -> Problem {
    let place = |index: usize| {
        places
            .get(index)
            .map_or(Place::Nowhere, |rule| rule.place(&error.key))
    };
    let mut message = format!("rule `{}`: {}", error.rule, error.message);
    if let Some(other) = error.other {
        message = format!("{message} (the other rule is at {})", place(other));
    }
    Problem {
        place: place(error.index),
        key: places
            .get(error.index)
            .map_or_else(|| error.path(), |rule| rule.path(&error.key)),
        message,
    }
}
