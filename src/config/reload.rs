//! What a running process may take from a configuration that is read again: the rules, and
//! nothing else.

use std::collections::BTreeMap;
use std::path::Path;

use sha2::{Digest, Sha256};
use toml::{Table, Value};

use super::Config;
use crate::secret::read_secret_file;

/// The settings but for the rules, by their keys. Only digests: some are secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings(BTreeMap<String, [u8; 32]>);

/// Belongs to the rules: it says what an event that says nothing of its own uses.
const OF_RULES: &str = "defaults";

impl Settings {
    /// `layers`: each over the one before.
    pub(super) fn of<'a>(layers: impl Iterator<Item = &'a Table>) -> Self {
        let mut settings = Settings::default();
        for layer in layers {
            for (section, value) in layer.iter().filter(|(name, _)| *name != OF_RULES) {
                settings.add(section, value);
            }
        }
        settings
    }

    /// A file that is read at the start only: its content belongs to the setting.
    pub(super) fn add_file(&mut self, key: &str, path: &Path) {
        // Where it cannot be read, its reader says so.
        if let Ok(content) = read_secret_file(path) {
            let digest = Sha256::digest(&content);
            self.0.insert(format!("{key} (its content)"), digest.into());
        }
    }

    fn add(&mut self, key: &str, value: &Value) {
        match value {
            Value::Table(table) => {
                for (name, value) in table {
                    self.add(&format!("{key}.{name}"), value);
                }
            }
            value => {
                let digest = Sha256::digest(format!("{value:?}"));
                self.0.insert(key.to_owned(), digest.into());
            }
        }
    }
}

impl Config {
    /// This configuration with the rules of another.
    pub fn with_rules_of(&self, other: Config) -> Config {
        Config {
            include: other.include,
            defaults: other.defaults,
            events: other.events,
            places: other.places,
            ..self.clone()
        }
    }

    /// The keys of settings, other than rules, in which this configuration differs.
    pub fn differing_settings(&self, other: &Config) -> Vec<String> {
        let (mine, theirs) = (&self.settings.0, &other.settings.0);
        let keys = mine.keys().chain(theirs.keys());
        let mut differing: Vec<String> = keys
            .filter(|key| mine.get(*key) != theirs.get(*key))
            .cloned()
            .collect();
        differing.sort();
        differing.dedup();
        differing
    }

    /// Says which rules these are: two processes with the same answer make the same events.
    pub fn rules_hash(&self) -> String {
        let written = format!("{:?} {:?}", self.defaults, self.events);
        let digest = Sha256::digest(written);
        digest[..6]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}
