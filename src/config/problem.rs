//! What is wrong with a configuration, and where.

use std::fmt;
use std::path::PathBuf;

use figment::error::{Actual, Kind};

use crate::terminal::Lines;

/// Everything that is wrong with a configuration, one problem a line.
#[derive(Debug, thiserror::Error)]
#[error("{}", lines(problems))]
pub struct ConfigError {
    pub problems: Vec<Problem>,
}

fn lines(problems: &[Problem]) -> Lines {
    let mut lines = Lines::default();
    problems.iter().for_each(|problem| lines.line(problem));
    lines
}

/// What was asked for cannot be understood or makes no sense as it is configured.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// One thing that is wrong: where, which key, and what was expected. Never holds a
/// value, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub place: Place,
    /// Such as `delivery.timeout`; empty where the file as a whole is meant.
    pub key: String,
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file, and its line where it is known.
    File(PathBuf, Option<usize>),
    /// An environment variable.
    Variable(String),
    /// Neither: a key that nothing sets.
    Nowhere,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(path, Some(line)) => write!(f, "{}:{line}", path.display()),
            Place::File(path, None) => write!(f, "{}", path.display()),
            Place::Variable(name) => write!(f, "environment variable {name}"),
            Place::Nowhere => f.write_str("configuration"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "{}: {}", self.place, self.message),
            key => write!(f, "{}: {key}: {}", self.place, self.message),
        }
    }
}

/// What serde says. Of the value, which may be a secret, only a number where one is expected.
pub(super) fn message_of(kind: Kind) -> String {
    match kind {
        Kind::Message(message) => message,
        Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
            let expected = expected.to_string();
            let expected = plain(&expected);
            format!("expected {expected}, found {}", found(&actual, expected))
        }
        Kind::InvalidLength(length, expected) => {
            format!("expected {expected}, found {length} elements")
        }
        Kind::UnknownVariant(_, known) => format!("expected one of {}", known.join(", ")),
        Kind::UnknownField(_, known) => format!("is unknown: expected one of {}", known.join(", ")),
        Kind::MissingField(_) => "is missing".to_owned(),
        Kind::DuplicateField(_) => "is given twice".to_owned(),
        Kind::ISizeOutOfRange(_) | Kind::USizeOutOfRange(_) => {
            "the number is out of range".to_owned()
        }
        Kind::Unsupported(actual) | Kind::UnsupportedKey(actual, _) => {
            format!("{} is not supported here", kind_of(&actual))
        }
    }
}

/// What is expected, where serde says it by the name of a Rust type.
fn plain(expected: &str) -> &str {
    match expected {
        "usize" | "u64" | "u32" | "u16" | "u8" => "a whole number, 0 or more",
        "isize" | "i64" | "i32" | "i16" | "i8" => "a whole number",
        "f64" | "f32" => "a number",
        "a boolean" => "true or false",
        "a string" | "a borrowed string" | "string" => "a text",
        "a sequence" => "a list",
        "a map" => "a table",
        nonzero if nonzero.starts_with("a nonzero ") => "a whole number, 1 or more",
        structure if structure.starts_with("struct ") => "a table",
        other => other,
    }
}

/// The number that was found where another is expected, else the kind of what was found.
fn found(actual: &Actual, expected: &str) -> String {
    let is_number = expected.starts_with("a whole number") || expected == "a number";
    match actual {
        Actual::Unsigned(number) if is_number => number.to_string(),
        Actual::Signed(number) if is_number => number.to_string(),
        Actual::Float(number) if is_number => number.to_string(),
        _ => kind_of(actual).to_owned(),
    }
}

fn kind_of(actual: &Actual) -> &'static str {
    match actual {
        Actual::Bool(_) => "true or false",
        Actual::Unsigned(_) | Actual::Signed(_) => "a whole number",
        Actual::Float(_) => "a number",
        Actual::Char(_) | Actual::Str(_) | Actual::Bytes(_) => "a text",
        Actual::Unit | Actual::Option => "nothing",
        Actual::Seq => "a list",
        Actual::Map => "a table",
        _ => "something else",
    }
}
