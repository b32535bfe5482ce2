//! Values that may stand in a file of their own: `source.url_file` names the file that
//! holds `source.url`. The shipped file says which they are, as it has both keys.

use std::fs;
use std::path::{Path, PathBuf};
use std::str;

use anyhow::{Context, ensure};
use toml::{Table, Value};

use super::environment::Environment;
use super::paths::PATH_KEY;
use super::{Config, Problem, Reader};
use crate::api::jwt::{JwtAlgorithm, JwtConfig};
use crate::secret::{mode_open_to_others, read_secret_file};

/// A file that holds a secret, and the key that names it or whose value it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile {
    pub key: String,
    pub path: PathBuf,
}

impl Config {
    /// The files of secrets that more may read than should, each with its mode. They are read
    /// all the same, other than the encryption key: Docker and Kubernetes mount secrets as
    /// 0444 and 0644 by default, where no one else can log in.
    pub fn exposed_secret_files(&self) -> Vec<(SecretFile, u32)> {
        let mut files = self.value_files.clone();
        if let Some(jwt) = &self.api.jwt {
            files.extend(match jwt.algorithm {
                JwtAlgorithm::HS256 => secret_files_of(jwt),
                // Public keys.
                JwtAlgorithm::RS256 | JwtAlgorithm::ES256 => Vec::new(),
            });
        }
        files
            .into_iter()
            .filter_map(|file| {
                let mode = mode_open_to_others(&fs::metadata(&file.path).ok()?)?;
                Some((file, mode))
            })
            .collect()
    }
}

fn secret_files_of(jwt: &JwtConfig) -> Vec<SecretFile> {
    let files = [
        ("api.jwt.key_file", &jwt.key_file),
        ("api.jwt.jwks_file", &jwt.jwks_file),
    ];
    let given = files.into_iter().filter_map(|(key, path)| {
        Some(SecretFile {
            key: key.to_owned(),
            path: path.clone()?,
        })
    });
    given.collect()
}

/// A key whose value may stand in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SecretKey {
    pub(super) section: String,
    /// Such as `url`.
    pub(super) name: String,
    /// Such as `url_file`.
    pub(super) file_name: String,
}

impl SecretKey {
    /// Those of the built-in defaults.
    pub(super) fn all(defaults: &Table) -> Vec<SecretKey> {
        let sections = defaults
            .iter()
            .filter_map(|(name, section)| Some((name, section.as_table()?)));
        sections
            .flat_map(|(section, table)| {
                table.keys().filter_map(move |file_name| {
                    let name = file_name.strip_suffix(PATH_KEY)?;
                    table.contains_key(name).then(|| SecretKey {
                        section: section.clone(),
                        name: name.to_owned(),
                        file_name: file_name.clone(),
                    })
                })
            })
            .collect()
    }

    /// `source.url`.
    pub(super) fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// `source.url_file`.
    pub(super) fn file_path(&self) -> String {
        format!("{}.{}", self.section, self.file_name)
    }

    pub(super) fn value_in<'a>(&self, layer: &'a Table) -> Option<&'a Value> {
        layer.get(&self.section)?.get(&self.name)
    }

    pub(super) fn file_in<'a>(&self, layer: &'a Table) -> Option<&'a Value> {
        layer.get(&self.section)?.get(&self.file_name)
    }

    /// The sections' types know the value alone.
    pub(super) fn remove_file_from(&self, layer: &mut Table) {
        if let Some(Value::Table(section)) = layer.get_mut(&self.section) {
            section.remove(&self.file_name);
        }
    }
}

impl Reader {
    /// The documents in which the key's value has a password.
    pub(super) fn documents_with_password(&self, key: &SecretKey) -> Vec<SecretFile> {
        let documents = self.documents.iter();
        documents
            .filter(|document| {
                let value = key.value_in(&document.table).and_then(Value::as_str);
                value.is_some_and(holds_password)
            })
            .map(|document| SecretFile {
                key: key.path(),
                path: document.path.clone(),
            })
            .collect()
    }

    /// Puts the value of a key that is given by a file into `values`.
    pub(super) fn read_value(
        &mut self,
        environment: &Environment,
        key: &SecretKey,
        values: &mut Table,
    ) -> Option<SecretFile> {
        let documents = self.documents.iter().map(|document| &document.table);
        let layers: Vec<&Table> = documents.chain([&environment.values]).collect();
        let path = layers.iter().rev().find_map(|layer| key.file_in(layer))?;
        let value = layers.iter().rev().find_map(|layer| key.value_in(layer));
        // An empty one stands for none, as in the shipped file.
        let given = |value: &Value| value.as_str() != Some("");
        let problem = match (path, value) {
            (path, _) if !given(path) => return None,
            (_, Some(value)) if given(value) => format!(
                "names a file for `{}`, which is set too ({}): take one of them out",
                key.path(),
                self.place_of(environment, &key.path())
            ),
            (Value::String(path), _) => match read(Path::new(path)) {
                Ok(value) => {
                    let section = values.entry(key.section.clone());
                    let section = section.or_insert_with(|| Value::Table(Table::new()));
                    if let Value::Table(section) = section {
                        section.insert(key.name.clone(), Value::String(value));
                    }
                    return Some(SecretFile {
                        key: key.file_path(),
                        path: path.into(),
                    });
                }
                Err(error) => format!("{error:#}"),
            },
            _ => "expected the path of a file, in quotes".to_owned(),
        };
        self.problems.push(Problem {
            place: self.place_of(environment, &key.file_path()),
            key: key.file_path(),
            message: problem,
        });
        None
    }
}

/// Whether a URL or a list of settings holds a password.
fn holds_password(value: &str) -> bool {
    let authority = value.split_once("://").map(|(_, rest)| {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        rest.get(..end).unwrap_or_default()
    });
    let user = authority.and_then(|authority| authority.rsplit_once('@'));
    let in_user = user.and_then(|(user, _)| user.split_once(':'));
    in_user.is_some_and(|(_, password)| !password.is_empty())
        || value.contains("password=")
        || value.contains("password =")
}

/// The value that the file holds, without the line break that editors end a file with.
/// An error never quotes it.
fn read(path: &Path) -> anyhow::Result<String> {
    let content = read_secret_file(path)?;
    let shown = path.display();
    let text = str::from_utf8(&content).with_context(|| format!("`{shown}` is not UTF-8"))?;
    let line = text.strip_suffix('\n').unwrap_or(text);
    let value = line.strip_suffix('\r').unwrap_or(line);
    ensure!(!value.is_empty(), "`{shown}` is empty");
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::holds_password;

    #[test]
    fn a_password_is_seen_wherever_it_stands() {
        for (value, expected) in [
            ("postgres://app:pw@db/app", true),
            ("postgres://app:p%40w@[::1]:5432/app?sslmode=require", true),
            ("postgresql://db/app?user=a&password=pw", true),
            ("host=db user=a password=pw", true),
            ("postgres://app@db/app", false),
            ("postgres://app:@db/app", false),
            ("postgres://db:5432/a@b", false),
            ("host=db user=a", false),
            ("", false),
        ] {
            assert_eq!(holds_password(value), expected, "{value}");
        }
    }
}
