//! The examples that rules carry, run as unit tests on the types of the live tables.

use super::finding::Finding;
use crate::config::Config;
use crate::mapping::{RuleSet, example};
use crate::source::catalog::Table;

pub(super) fn findings(config: &Config, rules: &RuleSet, tables: &[Table]) -> Vec<Finding> {
    let descriptions: Vec<_> = tables.iter().map(Table::description).collect();
    // What does not fit its table has been said, and every example of it would only repeat it.
    let faulty: Vec<usize> = descriptions
        .iter()
        .flat_map(|table| rules.check_table(table))
        .map(|error| error.index)
        .collect();
    let mut ran = example::run(rules, &config.events, &descriptions);
    ran.failures
        .retain(|failure| !faulty.contains(&failure.index));
    let mut findings: Vec<Finding> = config
        .locate(ran.failures)
        .problems
        .into_iter()
        .map(|problem| {
            let what = format!("{}: {}", problem.place, problem.key);
            Finding::failure(what, problem.message)
        })
        .collect();
    match (findings.is_empty(), ran.held) {
        (true, 1) => findings.push(Finding::ok("the example that the rules carry holds")),
        (true, held @ 2..) => findings.push(Finding::ok(format!(
            "the {held} examples that the rules carry hold"
        ))),
        _ => {}
    }
    findings
}
