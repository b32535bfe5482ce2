//! `WALHOOK_…` variables: `WALHOOK_SOURCE__URL` is `source.url`.
//!
//! A variable's text takes the type that its key has in the built-in defaults. To guess
//! it from the text would make a number of a password of digits, and refuse it.

use std::collections::BTreeMap;
use std::path::Path;

use figment::value::Value as Guess;
use toml::{Table, Value};

use crate::mapping::file::suggestion;

use super::{Place, Problem, SECTIONS, paths};

#[derive(Debug, Default)]
pub(super) struct Environment {
    pub(super) values: Table,
    /// The variables that set a key, by the key's path.
    pub(super) variables: BTreeMap<String, String>,
    pub(super) problems: Vec<Problem>,
}

impl Environment {
    pub(super) fn read(
        variables: impl Iterator<Item = (String, String)>,
        defaults: &Table,
    ) -> Environment {
        let mut environment = Environment::default();
        // The order of an environment is arbitrary, that of problems should not be.
        let variables: BTreeMap<_, _> = variables.collect();
        for (variable, text) in variables {
            let Some(name) = variable.strip_prefix("WALHOOK_") else {
                continue;
            };
            let name = name.to_lowercase();
            if is_service_link(&name) {
                continue;
            }
            match name.contains("__") {
                true => environment.set(&variable, &name, &text, defaults),
                false => environment.look_for_typo(&variable, &name, defaults),
            }
        }
        paths::resolve(&mut environment.values, Path::new(""));
        environment
    }

    fn set(&mut self, variable: &str, name: &str, text: &str, defaults: &Table) {
        let path: Vec<&str> = name.split("__").collect();
        let Some((section, keys)) = path
            .split_first()
            .filter(|(first, _)| SECTIONS.contains(first))
        else {
            let section = path.first().copied().unwrap_or_default();
            self.problem(
                variable,
                format!(
                    "`{section}` is not a section: expected one of {}{}",
                    SECTIONS.join(", "),
                    suggestion(section, SECTIONS.iter().copied())
                ),
            );
            return;
        };
        let default = keys
            .iter()
            .try_fold(defaults.get(*section), |value, key| {
                Some(value.and_then(|value| value.get(*key)))
            })
            .flatten();
        let value = typed(text, default);
        let Some((last, tables)) = path.split_last() else {
            return;
        };
        let mut table = &mut self.values;
        for key in tables {
            let inner = table
                .entry((*key).to_owned())
                .or_insert_with(|| Value::Table(Table::new()));
            // A value there before, of WALHOOK_A__B beside WALHOOK_A__B__C, gives way.
            if !inner.is_table() {
                *inner = Value::Table(Table::new());
            }
            let Value::Table(inner) = inner else {
                return;
            };
            table = inner;
        }
        table.insert((*last).to_owned(), value);
        self.variables.insert(path.join("."), variable.to_owned());
    }

    /// `WALHOOK_SOURCE_URL` sets nothing, and was surely meant to. Other names without
    /// `__` are not ours.
    fn look_for_typo(&mut self, variable: &str, name: &str, defaults: &Table) {
        let meant = SECTIONS.iter().find_map(|section| {
            let key = name.strip_prefix(section)?.strip_prefix('_')?;
            let known = defaults.get(*section)?.get(key).is_some();
            known.then(|| format!("WALHOOK_{section}__{key}").to_uppercase())
        });
        if let Some(meant) = meant {
            self.problem(
                variable,
                format!("sets nothing: a section and its key are joined by two underscores; did you mean `{meant}`?"),
            );
        }
    }

    fn problem(&mut self, variable: &str, message: String) {
        self.problems.push(Problem {
            place: Place::Variable(variable.to_owned()),
            key: String::new(),
            message,
        });
    }
}

/// Whether Kubernetes set it: every container learns of each service of its namespace,
/// and one called `walhook` or `walhook-…` has names that look like ours, such as
/// WALHOOK_PORT=tcp://10.0.0.1:8080. `name` is without WALHOOK_, in lower case.
fn is_service_link(name: &str) -> bool {
    // What stands before is the rest of the service's name, which ends in no dash: so
    // WALHOOK_API__PORT, which is somebody's mistake, is none.
    let ends_service = |before: &str| {
        before.is_empty()
            || before
                .strip_suffix('_')
                .is_some_and(|service| !service.is_empty() && !service.ends_with('_'))
    };
    let links = |(at, _): (usize, &str)| {
        let (before, link) = name.split_at(at);
        let link = link.strip_prefix("service_").unwrap_or(link);
        let rest = link
            .strip_prefix("port")
            .or_else(|| link.strip_prefix("host"));
        ends_service(before) && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    };
    name.match_indices("service_")
        .chain(name.match_indices("port"))
        .any(links)
}

fn typed(text: &str, default: Option<&Value>) -> Value {
    let string = || Value::String(text.to_owned());
    match default {
        Some(Value::Array(_)) if !text.trim_start().starts_with('[') => {
            let parts = text
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty());
            Value::Array(parts.map(|part| Value::String(part.to_owned())).collect())
        }
        Some(
            Value::Array(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Table(_),
        ) => {
            // Infallible: what has no other form is a text.
            let Ok(guess) = text.trim().parse::<Guess>();
            Value::try_from(guess).unwrap_or_else(|_| string())
        }
        Some(Value::String(_) | Value::Datetime(_)) | None => string(),
    }
}
