//! The rules that run, which change as a whole while the process lives.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::api::EventType;
use crate::config::{Config, ConfigError};
use crate::delivery::operational;
use crate::mapping::RuleSet;

#[derive(Debug)]
pub(super) struct Generation {
    /// The rules' own configuration says where they were written.
    pub(super) config: Config,
    pub(super) rules: Arc<RuleSet>,
    pub(super) hash: String,
    /// Capture did not take it: the tables had changed since it was checked.
    pub(super) refused: AtomicBool,
}

impl Generation {
    pub(super) fn compile(config: Config) -> Result<Self, ConfigError> {
        Ok(Generation {
            rules: Arc::new(config.rules()?),
            hash: config.rules_hash(),
            config,
            refused: AtomicBool::new(false),
        })
    }

    pub(super) fn event_types(&self) -> Vec<EventType> {
        let events = self.config.events.iter();
        let mut types: Vec<EventType> = events
            .map(|event| EventType {
                name: event.event_type.clone(),
                description: event.description.clone(),
                example: event.example_data(),
                data: self.rules.data_members(&event.event_type),
                is_operational: false,
            })
            .collect();
        // None at all says that the rules are unknown here.
        if !types.is_empty() {
            types.extend(operational::TYPES.map(|name| EventType {
                name: name.to_owned(),
                description: None,
                example: None,
                data: None,
                is_operational: true,
            }));
        }
        types
    }
}
