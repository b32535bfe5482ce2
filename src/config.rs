//! The configuration: built-in defaults, `walhook.toml`, the files that it includes,
//! and `WALHOOK_…` variables, each over the one before.
//!
//! The built-in defaults are the shipped `config/walhook.toml` itself, so that the
//! manual cannot differ from what runs. Only its `include` is left out: which events
//! there are is the user's to say.

use std::path::{Path, PathBuf};

use figment::Figment;
use figment::error::Kind;
use figment::providers::Serialized;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::api::{ApiConfig, LimitsConfig};
use crate::db::StoreConfig;
use crate::delivery::DeliveryConfig;
use crate::delivery::client::SecurityConfig;
use crate::mapping::RuleSet;
use crate::mapping::file::{DefaultsConfig, RuleConfig, RuleError, suggestion};
use crate::replication::SourceConfig;

mod databases;
mod document;
mod environment;
mod located;
mod paths;
mod problem;
mod reload;
mod secret_files;
#[cfg(test)]
mod tests;

use document::{Document, RulePlace};
use environment::Environment;
use problem::message_of;
pub use problem::{ConfigError, Place, Problem, UsageError};
use reload::Settings;
pub use secret_files::SecretFile;
use secret_files::SecretKey;

/// The shipped file: every key with its default.
pub const DEFAULTS: &str = include_str!("../config/walhook.toml");

/// Read where no file is named, if it is there.
pub const DEFAULT_FILE: &str = "walhook.toml";

/// All of the configuration, read and checked as far as that goes without a database.
#[derive(Clone, Debug)]
pub struct Config {
    /// As written in the main file.
    pub include: Vec<String>,
    pub source: SourceConfig,
    pub store: StoreConfig,
    pub delivery: DeliveryConfig,
    pub security: SecurityConfig,
    pub api: ApiConfig,
    pub limits: LimitsConfig,
    pub defaults: DefaultsConfig,
    /// The rules of all files, in the order in which the files were read.
    pub events: Vec<RuleConfig>,
    /// Where each rule was written.
    places: Vec<RulePlace>,
    /// Where `defaults.tenant` was set.
    default_tenant: Place,
    /// As they were set, beside the rules.
    settings: Settings,
    /// Which hold values of keys that are secret.
    value_files: Vec<SecretFile>,
}

/// The sections, which are also the first parts of variables' names.
const SECTIONS: &[&str] = &[
    "source", "store", "delivery", "security", "api", "limits", "defaults",
];

impl Config {
    /// Reads `path`, or `walhook.toml` of the working directory where there is one,
    /// with all that it includes, and the environment.
    pub fn load(path: Option<&Path>) -> Result<Config, ConfigError> {
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        let fallback = Path::new(DEFAULT_FILE);
        let path = path.or_else(|| fallback.exists().then_some(fallback));
        Config::load_with(path, variables)
    }

    /// As [`Config::load`], with the environment given.
    pub fn load_with(
        path: Option<&Path>,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Config, ConfigError> {
        let mut problems = Vec::new();
        let documents = match path {
            Some(path) => document::read_all(path, &mut problems),
            None => Vec::new(),
        };
        let folder = path.map_or(Path::new(""), document::folder_of);
        Reader {
            folder: folder.to_owned(),
            documents,
            problems,
        }
        .read(variables)
    }

    /// Compiles the rules.
    pub fn rules(&self) -> Result<RuleSet, ConfigError> {
        RuleSet::compile(&self.events, &self.defaults).map_err(|errors| self.locate(errors))
    }

    /// Says of errors that rules turned out to have against the live tables in which
    /// file and line to fix them.
    pub fn locate(&self, errors: Vec<RuleError>) -> ConfigError {
        ConfigError {
            problems: located::problems(&self.events, &self.places, &self.default_tenant, &errors),
        }
    }
}

struct Reader {
    /// That of the main file, to which the defaults' paths are relative.
    folder: PathBuf,
    /// In the order of reading: a later one's values win.
    documents: Vec<Document>,
    problems: Vec<Problem>,
}

impl Reader {
    fn read(
        mut self,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Config, ConfigError> {
        let mut defaults: Table = toml::from_str(DEFAULTS).map_err(|error| ConfigError {
            problems: vec![self.problem("", format!("the built-in defaults: {}", error.message()))],
        })?;
        defaults.remove("include");
        paths::resolve(&mut defaults, &self.folder);
        let secret_keys = SecretKey::all(&defaults);
        let environment = Environment::read(variables, &defaults);
        for document in &self.documents {
            for key in document.table.keys() {
                if !SECTIONS.contains(&key.as_str())
                    && !["include", "events"].contains(&key.as_str())
                {
                    let known = SECTIONS.iter().copied().chain(["include", "events"]);
                    self.problems.push(Problem {
                        place: document.place(key),
                        key: key.clone(),
                        message: format!(
                            "is unknown: expected one of {}{}",
                            known.clone().collect::<Vec<_>>().join(", "),
                            suggestion(key, known)
                        ),
                    });
                }
            }
        }
        self.problems.extend(environment.problems.iter().cloned());

        let mut from_files = Table::new();
        let mut value_files = Vec::new();
        for key in &secret_keys {
            value_files.extend(self.read_value(&environment, key, &mut from_files));
            value_files.extend(self.documents_with_password(key));
        }
        let mut layers = vec![defaults];
        layers.extend(self.documents.iter().map(|document| document.table.clone()));
        layers.extend([environment.values.clone(), from_files]);
        for layer in &mut layers {
            let files = secret_keys.iter();
            files.for_each(|key| key.remove_file_from(layer));
        }
        let mut figment = Figment::new();
        for layer in &layers {
            figment = figment.merge(Serialized::defaults(layer));
        }
        let source = self.section(&figment, &environment, &secret_keys, "source");
        let store = self.section(&figment, &environment, &secret_keys, "store");
        let delivery = self.section(&figment, &environment, &secret_keys, "delivery");
        let security: Option<SecurityConfig> =
            self.section(&figment, &environment, &secret_keys, "security");
        let api: Option<ApiConfig> = self.section(&figment, &environment, &secret_keys, "api");
        let limits: Option<LimitsConfig> =
            self.section(&figment, &environment, &secret_keys, "limits");
        let defaults = self.section(&figment, &environment, &secret_keys, "defaults");

        let mut events = Vec::new();
        let mut places = Vec::new();
        let include = self.documents.first().map(|main| main.include.clone());
        for document in &mut self.documents {
            for (rule, place) in document.rules.drain(..) {
                events.push(rule);
                places.push(place);
            }
        }
        let (Some(source), Some(store), Some(delivery), Some(security)) =
            (source, store, delivery, security)
        else {
            return Err(ConfigError {
                problems: self.problems,
            });
        };
        let (Some(api), Some(limits), Some(defaults)) = (api, limits, defaults) else {
            return Err(ConfigError {
                problems: self.problems,
            });
        };
        let default_tenant = self.place_of(&environment, "defaults.tenant");
        if let Err(errors) = RuleSet::compile(&events, &defaults) {
            let located = located::problems(&events, &places, &default_tenant, &errors);
            self.problems.extend(located);
        }
        if !self.problems.is_empty() {
            return Err(ConfigError {
                problems: self.problems,
            });
        }
        // The defaults are the same whenever they are read.
        let mut settings = Settings::of(layers.iter().skip(1));
        settings.add_file(
            "security.encryption_key_file",
            &security.encryption_key_file,
        );
        if let Some(file) = api.jwt.as_ref().and_then(|jwt| jwt.key_file.as_ref()) {
            settings.add_file("api.jwt.key_file", file);
        }
        Ok(Config {
            include: include.unwrap_or_default(),
            source,
            store,
            delivery,
            security,
            api,
            limits,
            defaults,
            events,
            places,
            default_tenant,
            settings,
            value_files,
        })
    }

    fn problem(&self, key: &str, message: String) -> Problem {
        Problem {
            place: Place::Nowhere,
            key: key.to_owned(),
            message,
        }
    }

    /// One section, or `None` with its problems recorded.
    fn section<T: DeserializeOwned>(
        &mut self,
        figment: &Figment,
        environment: &Environment,
        secret_keys: &[SecretKey],
        section: &str,
    ) -> Option<T> {
        let error = match figment.extract_inner(section) {
            Ok(section) => return Some(section),
            Err(error) => error,
        };
        for error in error {
            let mut path = error.path;
            // figment appends what `extract_inner` was given instead of prefixing it.
            if path.last().map(String::as_str) == Some(section) {
                path.pop();
            }
            if path.first().map(String::as_str) != Some(section) {
                path.insert(0, section.to_owned());
            }
            match error.kind {
                // serde stops at the first; the user would rather see them all.
                Kind::UnknownField(found, known) => {
                    let of_section = secret_keys.iter().filter(|key| key.section == section);
                    let files = of_section.map(|key| key.file_name.as_str());
                    let known: Vec<&str> = known.iter().copied().chain(files).collect();
                    self.unknown_keys(environment, section, &found, &known);
                }
                kind => {
                    if let Kind::MissingField(field) = &kind {
                        path.push(field.to_string());
                    }
                    let key = document::key_of(&path);
                    self.problems.push(Problem {
                        place: self.place_of(environment, &key),
                        key,
                        message: message_of(kind),
                    });
                }
            }
        }
        None
    }

    fn unknown_keys(
        &mut self,
        environment: &Environment,
        section: &str,
        found: &str,
        known: &[&str],
    ) {
        let message = |key: &str| {
            format!(
                "is unknown: expected one of {}{}",
                known.join(", "),
                suggestion(key, known.iter().copied())
            )
        };
        let before = self.problems.len();
        for document in &self.documents {
            let table = document.table.get(section).and_then(Value::as_table);
            for key in table.into_iter().flat_map(Table::keys) {
                if !known.contains(&key.as_str()) {
                    let path = format!("{section}.{key}");
                    self.problems.push(Problem {
                        place: document.place(&path),
                        message: message(key),
                        key: path,
                    });
                }
            }
        }
        for (path, variable) in &environment.variables {
            let key = path
                .strip_prefix(section)
                .and_then(|rest| rest.strip_prefix('.'));
            if let Some(key) = key.filter(|key| !known.contains(key)) {
                self.problems.push(Problem {
                    place: Place::Variable(variable.clone()),
                    message: message(key),
                    key: path.clone(),
                });
            }
        }
        if self.problems.len() == before {
            // Deeper than a section's own keys.
            let key = format!("{section}.{found}");
            let place = self.place_of(environment, &key);
            let message = message(found);
            self.problems.push(Problem {
                place,
                key,
                message,
            });
        }
    }

    /// Where the value that counts was set.
    fn place_of(&self, environment: &Environment, key: &str) -> Place {
        if let Some(variable) = environment.variables.get(key) {
            return Place::Variable(variable.clone());
        }
        let setting = self
            .documents
            .iter()
            .rev()
            .find(|document| document.has(key));
        setting.map_or(Place::Nowhere, |document| document.place(key))
    }
}
