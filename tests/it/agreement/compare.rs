//! One expression, evaluated by the language and by the server on each row.

use std::fmt;
use std::ops::RangeInclusive;

use futures_util::future::join_all;
use tokio_postgres::SimpleQueryMessage;
use walhook::conninfo::Client;
use walhook::mapping::language::check::{Checked, Scope, check};
use walhook::mapping::language::evaluate::{Evaluation, write_output};
use walhook::mapping::language::parse::parse;
use walhook::mapping::language::types::{Encoding, Type};
use walhook::mapping::language::value::Value;

use super::table::{Table, mentioned};
use super::values::Charset;
use crate::harness::TestDatabase;

/// A reason for which the language fails where the server has a value.
struct Narrowing {
    /// How the failure begins.
    reason: &'static str,
    /// The releases that have a value.
    releases: RangeInclusive<u32>,
    /// What the expression and its columns then hold.
    sign: fn(&str) -> bool,
}

const NARROWINGS: [Narrowing; 7] = [
    Narrowing {
        reason: "a text is no number",
        releases: 0..=u32::MAX,
        sign: is_odd_number,
    },
    // The server reads more than ISO 8601 and units.
    Narrowing {
        reason: "a text is no date, time or interval in a form that is read",
        releases: 0..=u32::MAX,
        sign: |_| true,
    },
    Narrowing {
        reason: "infinite intervals are not supported",
        releases: 17..=u32::MAX,
        sign: |text| text.contains("inf"),
    },
    Narrowing {
        reason: "cannot subtract infinite timestamps",
        releases: 17..=u32::MAX,
        sign: |text| text.contains("infinity"),
    },
    // Before 17 the difference of two timestamps overflows in silence.
    Narrowing {
        reason: "interval out of range",
        releases: 0..=16,
        sign: |text| text.contains('-'),
    },
    // To more than 2,000 places, where the releases differ.
    Narrowing {
        reason: "scale out of range",
        releases: 0..=u32::MAX,
        sign: |text| text.contains("2147483647") || text.contains("-2147483648"),
    },
    // Under ICU.
    Narrowing {
        reason: "the other case of the character",
        releases: 0..=u32::MAX,
        sign: |text| text.chars().any(|c| "ßi̇ŉσςǆµÿ".contains(c)),
    },
];

/// Hexadecimal, octal, binary, or with a separator.
fn is_odd_number(text: &str) -> bool {
    let separated =
        |bytes: &[u8]| matches!(bytes, [a, b'_', b] if a.is_ascii_hexdigit() && b.is_ascii_digit());
    ["0x", "0o", "0b"]
        .iter()
        .any(|prefix| text.contains(prefix))
        || text.as_bytes().windows(3).any(separated)
}

pub struct Judge<'a> {
    pub table: &'a Table,
    pub database: &'a TestDatabase,
    pub charset: Charset,
    /// The server's release.
    pub major: u32,
}

/// What became of an expression.
pub enum Verdict {
    /// The language does not take it, for this reason.
    Refused(String),
    Compared(Vec<Outcome>),
}

/// What became of it on a row.
pub enum Outcome {
    Equal { null: bool },
    BothFail,
    Narrowed(&'static str),
    Fault(Fault),
}

pub struct Fault {
    pub source: String,
    pub row: usize,
    pub ours: String,
    pub server: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault {
            source,
            row,
            ours,
            server,
        } = self;
        write!(f, "{source}\n  row {row}, ours: {ours}\n  server: {server}")
    }
}

/// A value's text or null, or why there is none.
pub type Answer = Result<Option<String>, String>;

impl Judge<'_> {
    pub fn check(&self, source: &str) -> Result<Checked, String> {
        let scope = Scope {
            table: "public.t",
            columns: &self.table.columns,
            members: None,
            encoding: match self.charset {
                Charset::Utf8 => Encoding::Utf8,
                Charset::Latin1 => Encoding::Latin1,
                Charset::Bytes => Encoding::SqlAscii,
            },
            letters: &self.table.letters,
        };
        let checked = parse(source).and_then(|expr| check(source, &expr, &scope));
        checked.map_err(|error| error.message)
    }

    /// Those that the language takes are sent to the server together.
    pub async fn judge(&self, sources: &[String]) -> Vec<Verdict> {
        let judged = sources.iter().map(async |source| match self.check(source) {
            Err(message) => Verdict::Refused(message),
            Ok(checked) => {
                let answers = self.server(source).await;
                let rows = answers.into_iter().enumerate();
                let outcomes =
                    rows.map(|(row, answer)| self.outcome(source, &checked, row, answer));
                Verdict::Compared(outcomes.collect())
            }
        });
        join_all(judged).await
    }

    /// The server's answer for each row.
    async fn server(&self, source: &str) -> Vec<Answer> {
        let (client, query) = (&self.database.client, self.table.query(source));
        answers(client, &query, "cur.id", self.table.rows.len()).await
    }

    pub fn outcome(&self, source: &str, checked: &Checked, row: usize, server: Answer) -> Outcome {
        let change = self.table.change(row);
        let evaluation = Evaluation::new(&change, &self.table.letters);
        let ours = match evaluation.value(&checked.node) {
            Ok(value) => Ok(value.map(|value| shown(&value, &checked.r#type))),
            Err(failure) => Err(failure.to_string()),
        };
        match (&ours, &server) {
            (Ok(ours), Ok(server)) if ours == server => {
                return Outcome::Equal {
                    null: ours.is_none(),
                };
            }
            // Of the whole expression: a name, a type, a form.
            (_, Err(error)) if error.starts_with("42") => {}
            (Err(_), Err(_)) => return Outcome::BothFail,
            (Err(failure), Ok(_)) => {
                let mentioned = mentioned(self.table, row, source).to_lowercase();
                let narrowing = NARROWINGS.iter().find(|narrowing| {
                    failure.starts_with(narrowing.reason)
                        && narrowing.releases.contains(&self.major)
                        && (narrowing.sign)(&mentioned)
                });
                if let Some(narrowing) = narrowing {
                    return Outcome::Narrowed(narrowing.reason);
                }
            }
            _ => {}
        }
        Outcome::Fault(Fault {
            source: source.to_owned(),
            row,
            ours: format!("{ours:?} ({})", checked.r#type),
            server: format!("{server:?}; {}", mentioned(self.table, row, source)),
        })
    }
}

/// The second column of a query for each of so many ids, asked for one by one where it
/// fails for any.
pub async fn answers(client: &Client, query: &str, id: &str, count: usize) -> Vec<Answer> {
    let all = format!("{query} order by {id}");
    if let Ok(answer) = client.simple_query(&all).await {
        return values(&answer).into_iter().map(Ok).collect();
    }
    let single = (0..count).map(async |number| {
        let one = format!("{query} where {id} = {number}");
        match client.simple_query(&one).await {
            Ok(answer) => Ok(values(&answer).pop().flatten()),
            Err(error) => Err(reason(&error)),
        }
    });
    join_all(single).await
}

fn values(answer: &[SimpleQueryMessage]) -> Vec<Option<String>> {
    let rows = answer.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(1).map(str::to_owned)),
        _ => None,
    });
    rows.collect()
}

fn reason(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => format!("{} {}", error.code().code(), error.message()),
        None => error.to_string(),
    }
}

/// As the server prints it.
pub fn shown(value: &Value<'_>, r#type: &Type) -> String {
    let mut out = String::new();
    match (value, r#type) {
        (Value::Timestamp(value), Type::Timestamptz) => value.write_timestamptz(&mut out),
        (value, _) => write_output(&mut out, value),
    }
    out
}
