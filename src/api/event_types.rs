//! Which types of events there are, and what their `data` has.

use std::sync::{Arc, PoisonError, RwLock};

use crate::subscription::directory::type_matches;

/// The types that the rules produce, sorted; they change with the rules. Empty: unknown
/// here, any is admitted.
#[derive(Clone, Default)]
pub struct EventTypes(Arc<RwLock<Arc<[EventType]>>>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventType {
    pub name: String,
    /// The members of its `data`, where they are known.
    pub data: Option<Vec<String>>,
    /// About deliveries themselves: filters are not asked.
    pub is_operational: bool,
}

impl EventTypes {
    pub fn set(&self, mut types: Vec<EventType>) {
        types.sort_unstable();
        types.dedup_by(|later, kept| later.name == kept.name);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = types.into();
    }

    pub fn all(&self) -> Arc<[EventType]> {
        let types = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&types)
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
            data: None,
            is_operational: false,
        };
        names.into_iter().map(of).collect::<Vec<_>>().into()
    }
}
