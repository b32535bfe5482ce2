//! Which types of events there are, and what their `data` has.

use std::sync::{Arc, PoisonError, RwLock};

use serde_json::Value;

use crate::subscription::directory::type_matches;

/// The types that the rules produce, sorted; they change with the rules. Empty: unknown
/// here, any is admitted.
#[derive(Clone, Default)]
pub struct EventTypes(Arc<RwLock<Arc<[EventType]>>>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventType {
    pub name: String,
    /// What it means, as its rule says.
    pub description: Option<String>,
    /// A `data` such as it has, by an example of its rule.
    pub example: Option<Value>,
    /// The members of its `data`, where they are known.
    pub data: Option<Vec<String>>,
    /// About deliveries themselves: filters are not asked.
    pub is_operational: bool,
}

impl EventTypes {
    pub fn set(&self, mut types: Vec<EventType>) {
        types.sort_by(|a, b| a.name.cmp(&b.name));
        // Of several rules for one type each may say something.
        types.dedup_by(|later, kept| {
            let is_same = later.name == kept.name;
            if is_same {
                kept.description = kept.description.take().or(later.description.take());
                kept.example = kept.example.take().or(later.example.take());
            }
            is_same
        });
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = types.into();
    }

    pub fn all(&self) -> Arc<[EventType]> {
        let types = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&types)
    }

    /// The example of a type, where it has one.
    pub fn example(&self, name: &str) -> Option<Value> {
        let all = self.all();
        let found = all.iter().find(|one| one.name == name)?;
        found.example.clone()
    }

    pub fn names(&self) -> Vec<String> {
        self.all().iter().map(|one| one.name.clone()).collect()
    }

    /// The members of the `data` of all types that these patterns match, where they are known.
    pub fn data_of(&self, patterns: &[String]) -> Option<Vec<String>> {
        let types = self.all();
        let asked = |one: &&EventType| {
            let matches = |pattern: &String| type_matches(pattern, &one.name);
            !one.is_operational && patterns.iter().any(matches)
        };
        let mut members: Vec<String> = Vec::new();
        let mut is_any = false;
        for one in types.iter().filter(asked) {
            is_any = true;
            members.extend(one.data.as_ref()?.iter().cloned());
        }
        members.sort_unstable();
        members.dedup();
        is_any.then_some(members)
    }
}

impl From<Vec<EventType>> for EventTypes {
    fn from(types: Vec<EventType>) -> Self {
        let known = EventTypes::default();
        known.set(types);
        known
    }
}

impl From<Vec<String>> for EventTypes {
    fn from(names: Vec<String>) -> Self {
        let of = |name| EventType {
            name,
            description: None,
            example: None,
            data: None,
            is_operational: false,
        };
        names.into_iter().map(of).collect::<Vec<_>>().into()
    }
}
