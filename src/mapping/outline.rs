//! What there is to know of a rule without compiling it: for those who choose among rules.

use std::sync::Arc;

use super::rules::{Rule, RuleSet};
use super::table_name::TableName;

/// A rule from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// Its place in the configuration.
    pub index: usize,
    pub name: Arc<str>,
    pub event_type: Arc<str>,
    pub table: TableName,
    /// Whether it asks for inserts, and for updates.
    pub inserts: bool,
    pub updates: bool,
}

impl RuleSet {
    /// Every rule, in the order of the configuration.
    pub fn outlines(&self) -> impl Iterator<Item = Outline> {
        self.rules.iter().map(outline)
    }

    /// The place of the rule of that name.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        let rule = self.rules.iter().find(|rule| &*rule.name == name)?;
        Some(rule.index)
    }
}

fn outline(rule: &Rule) -> Outline {
    Outline {
        index: rule.index,
        name: Arc::clone(&rule.name),
        event_type: Arc::clone(&rule.event_type),
        table: rule.table.clone(),
        inserts: rule.on.insert,
        updates: rule.on.update,
    }
}
