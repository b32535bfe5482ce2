//! One file of the configuration: its values, its rules, and the line of every key.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::mapping::file::{RULE_KEYS, RuleConfig, suggestion};

use super::{Place, Problem, paths};

#[derive(Debug)]
pub(super) struct Document {
    pub(super) path: PathBuf,
    /// The lines of keys, by their paths: `delivery.timeout`, `events[0].when`.
    lines: BTreeMap<String, usize>,
    /// The values, without the rules.
    pub(super) table: toml::Table,
    pub(super) include: Vec<String>,
    pub(super) rules: Vec<(RuleConfig, RulePlace)>,
}

/// Where a rule was written.
#[derive(Clone, Debug)]
pub(super) struct RulePlace {
    path: PathBuf,
    /// Its number in the file.
    index: usize,
    /// The lines of its keys; that of the rule itself under the empty key.
    lines: BTreeMap<String, usize>,
}

impl RulePlace {
    /// The line of the key, or of the nearest one around it.
    pub(super) fn place(&self, key: &str) -> Place {
        let mut key = key;
        let line = loop {
            match (self.lines.get(key), key.rfind(['.', '['])) {
                (None, Some(end)) => key = &key[..end],
                (None, None) => break self.lines.get(""),
                (line, _) => break line,
            }
        };
        Place::File(self.path.clone(), line.copied())
    }

    /// The key's path in the file: `events[3].when`.
    pub(super) fn path(&self, key: &str) -> String {
        format!("events[{}].{key}", self.index)
    }
}

impl Document {
    pub(super) fn has(&self, key: &str) -> bool {
        self.lines.contains_key(key)
    }

    /// The line of the key, or of the nearest one around it.
    pub(super) fn place(&self, key: &str) -> Place {
        let mut key = key;
        loop {
            if let Some(line) = self.lines.get(key) {
                return Place::File(self.path.clone(), Some(*line));
            }
            match key.rfind(['.', '[']) {
                Some(end) => key = &key[..end],
                None => return Place::File(self.path.clone(), None),
            }
        }
    }
}

/// A path of keys as one text; numbers are places in lists.
pub(super) fn key_of(path: &[String]) -> String {
    let mut key = String::new();
    for part in path {
        match part.parse::<usize>() {
            Ok(index) => key.push_str(&format!("[{index}]")),
            Err(_) if key.is_empty() => key.push_str(part),
            Err(_) => key.push_str(&format!(".{part}")),
        }
    }
    key
}

/// Reads a file and, depth first, all that it includes. What cannot be read is a
/// problem; the rest is still read, so that one run names all of them.
pub(super) fn read_all(path: &Path, problems: &mut Vec<Problem>) -> Vec<Document> {
    let mut documents = Vec::new();
    let mut seen = HashSet::new();
    read_into(path, None, &mut seen, &mut documents, problems);
    documents
}

fn read_into(
    path: &Path,
    included_at: Option<Place>,
    seen: &mut HashSet<PathBuf>,
    documents: &mut Vec<Document>,
    problems: &mut Vec<Problem>,
) {
    let problem = |message: String| Problem {
        key: included_at
            .as_ref()
            .map_or(String::new(), |_| "include".to_owned()),
        place: included_at
            .clone()
            .unwrap_or_else(|| Place::File(path.to_owned(), None)),
        message,
    };
    // Two names of one file would double its rules, and two files that include each
    // other would never end.
    if let Ok(canonical) = path.canonicalize()
        && !seen.insert(canonical)
    {
        problems.push(problem(format!("{} is included twice", path.display())));
        return;
    }
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            problems.push(problem(format!("cannot read {}: {error}", path.display())));
            return;
        }
    };
    let Some(document) = parse(path, &text, problems) else {
        return;
    };
    let includes: Vec<_> = document
        .include
        .iter()
        .enumerate()
        .map(|(index, include)| {
            let place = document.place(&format!("include[{index}]"));
            (folder_of(path).join(include), place)
        })
        .collect();
    documents.push(document);
    for (include, place) in includes {
        read_into(&include, Some(place), seen, documents, problems);
    }
}

/// To which the paths in a file are relative; empty: the working directory.
pub(super) fn folder_of(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}

/// The line that a byte stands on, from 1.
fn line_at(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

const QUOTES: &str = r#"; an expression that holds `\` or `"` is written between `'''` and `'''`"#;

/// Around a text of several lines.
const LINES: &str = r#"""""#;

/// Whether an expression stands in double quotes at this place, where `\` begins an escape
/// and `"` ends it.
fn is_in_quoted_expression(text: &str, offset: usize) -> bool {
    let before = text.get(..offset).unwrap_or(text);
    let (mut table, mut key, mut value) = ("", "", "");
    let lines = text.lines().take(before.split('\n').count());
    let mut is_open = false;
    for line in lines.map(str::trim) {
        let ends = line.matches(LINES).count() % 2 == 1;
        if is_open {
            is_open = !ends;
            continue;
        }
        is_open = ends;
        if line.starts_with('[') && line.ends_with(']') {
            table = line.trim_matches(['[', ']']).trim();
        } else if let Some((name, rest)) = line.split_once('=') {
            let name = name.trim();
            let is_key = |c: char| c.is_alphanumeric() || "_-.\"' ".contains(c);
            if name.chars().all(is_key) {
                (key, value) = (name, rest);
            }
        }
    }
    let path = format!("{table}.{key}");
    let is_expression = matches!(path.as_str(), "events.when" | "events.tenant")
        || path.starts_with("events.data")
        || path.trim_start_matches('.') == "defaults.tenant";
    is_expression && value.contains('"')
}

pub(super) fn parse(path: &Path, text: &str, problems: &mut Vec<Problem>) -> Option<Document> {
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // The message only: the error's own display shows the line, and with it a secret.
        problems.extend(errors.iter().map(|error| Problem {
            place: Place::File(
                path.to_owned(),
                error.span().map(|span| line_at(text, span.start)),
            ),
            key: String::new(),
            message: format!(
                "is not valid TOML: {}{}",
                error.message(),
                match error.span() {
                    Some(span) if is_in_quoted_expression(text, span.start) => QUOTES,
                    _ => "",
                }
            ),
        }));
        return None;
    }
    let mut reader = DocumentReader {
        path,
        text,
        lines: BTreeMap::new(),
        problems,
    };
    for (key, value) in root.get_ref().iter() {
        reader.index(
            key.get_ref(),
            line_at(text, key.span().start),
            value.get_ref(),
        );
    }
    let include = reader.include(root.get_ref());
    let rules = reader.rules(root.get_ref());
    let lines = reader.lines;
    let mut table: toml::Table = toml::from_str(text).ok()?;
    table.remove("events");
    table.remove("include");
    paths::resolve(&mut table, folder_of(path));
    Some(Document {
        path: path.to_owned(),
        lines,
        table,
        include,
        rules,
    })
}

struct DocumentReader<'a> {
    path: &'a Path,
    text: &'a str,
    lines: BTreeMap<String, usize>,
    problems: &'a mut Vec<Problem>,
}

impl DocumentReader<'_> {
    fn index(&mut self, key: &str, line: usize, value: &DeValue<'_>) {
        self.lines.insert(key.to_owned(), line);
        match value {
            DeValue::Table(table) => {
                for (name, value) in table.iter() {
                    let line = line_at(self.text, name.span().start);
                    self.index(&format!("{key}.{}", name.get_ref()), line, value.get_ref());
                }
            }
            DeValue::Array(array) => {
                for (index, value) in array.iter().enumerate() {
                    let line = line_at(self.text, value.span().start);
                    self.index(&format!("{key}[{index}]"), line, value.get_ref());
                }
            }
            _ => {}
        }
    }

    fn problem(&mut self, key: String, line: Option<usize>, message: String) {
        let line = line.or_else(|| self.lines.get(&key).copied());
        self.problems.push(Problem {
            place: Place::File(self.path.to_owned(), line),
            key,
            message,
        });
    }

    fn include(&mut self, root: &DeTable<'_>) -> Vec<String> {
        let Some(include) = root.get("include") else {
            return Vec::new();
        };
        match Vec::<String>::deserialize(ValueDeserializer::from(include.clone())) {
            Ok(include) => include,
            Err(_) => {
                let expected = "expected a list of files, such as [\"events/payments.toml\"]";
                self.problem("include".to_owned(), None, expected.to_owned());
                Vec::new()
            }
        }
    }

    fn rules(&mut self, root: &DeTable<'_>) -> Vec<(RuleConfig, RulePlace)> {
        let Some(events) = root.get("events") else {
            return Vec::new();
        };
        let Some(items) = events.get_ref().as_array() else {
            let expected = "expected tables that begin with [[events]]";
            self.problem("events".to_owned(), None, expected.to_owned());
            return Vec::new();
        };
        let items = items.iter().enumerate();
        items
            .filter_map(|(index, item)| self.rule(index, item))
            .collect()
    }

    fn rule(
        &mut self,
        index: usize,
        item: &Spanned<DeValue<'_>>,
    ) -> Option<(RuleConfig, RulePlace)> {
        let key = format!("events[{index}]");
        let table = item.get_ref().as_table();
        let before = self.problems.len();
        for name in table.into_iter().flat_map(|table| table.keys()) {
            let name = name.get_ref();
            if !RULE_KEYS.contains(&&**name) {
                let message = format!(
                    "is unknown: expected one of {}{}",
                    RULE_KEYS.join(", "),
                    suggestion(name, RULE_KEYS.iter().copied())
                );
                self.problem(format!("{key}.{name}"), None, message);
            }
        }
        if self.problems.len() > before {
            return None;
        }
        match RuleConfig::deserialize(ValueDeserializer::from(item.clone())) {
            Ok(rule) => {
                let place = RulePlace {
                    path: self.path.to_owned(),
                    index,
                    lines: self.lines_under(&key),
                };
                Some((rule, place))
            }
            Err(error) => {
                let line = error.span().map(|span| line_at(self.text, span.start));
                self.problem(key, line, error.message().to_owned());
                None
            }
        }
    }

    /// The lines of a rule's keys, by their paths inside the rule.
    fn lines_under(&self, key: &str) -> BTreeMap<String, usize> {
        let inside = self.lines.range(key.to_owned()..);
        inside
            .map_while(|(path, line)| Some((path.strip_prefix(key)?, *line)))
            .filter(|(rest, _)| rest.is_empty() || rest.starts_with('.'))
            .map(|(rest, line)| (rest.trim_start_matches('.').to_owned(), line))
            .collect()
    }
}
