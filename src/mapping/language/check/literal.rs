//! Constants: digits get their type, quoted ones take the type that they meet.

use std::borrow::Cow;

use crate::mapping::file::suggestion;
use crate::mapping::language::array;
use crate::mapping::language::error::{Result, Span};
use crate::mapping::language::evaluate::write_output;
use crate::mapping::language::json;
use crate::mapping::language::number::{self, Decimal};
use crate::mapping::language::program::Node;
use crate::mapping::language::syntax::Expr;
use crate::mapping::language::time::{Date, Interval, Timestamp};
use crate::mapping::language::types::Type;
use crate::mapping::language::value::Constant;

use super::{Checker, Typed};

impl Checker<'_> {
    /// Digits: integer, else bigint, else numeric, as `make_const` has it.
    pub(super) fn number(&self, digits: &str, at: &Span) -> Result<Typed> {
        let (constant, r#type) = match digits.parse::<i64>() {
            Ok(value) if i32::try_from(value).is_ok() => (Constant::Integer(value), Type::Int4),
            Ok(value) => (Constant::Integer(value), Type::Int8),
            Err(_) => {
                let value = Decimal::parse(digits).map_err(|error| {
                    Self::error(at, format!("`{digits}` is no number: {error}"))
                })?;
                (Constant::Numeric(value), Type::Numeric)
            }
        };
        Ok(Typed {
            node: Node::Constant(Some(constant)),
            r#type,
            at: at.clone(),
            collation: None,
        })
    }

    /// A quoted constant, which has no type yet.
    pub(super) fn unknown(&self, text: &str, at: &Span) -> Result<Typed> {
        if text.contains('\0') {
            return Err(Self::error(at, "a text cannot hold the character U+0000"));
        }
        self.must_hold(text, at)?;
        Ok(Typed {
            node: Node::Constant(Some(Constant::Text(text.to_owned()))),
            r#type: Type::Unknown,
            at: at.clone(),
            collation: None,
        })
    }

    fn must_hold(&self, text: &str, at: &Span) -> Result<()> {
        match text.chars().find(|c| !self.scope.encoding.holds(*c)) {
            None => Ok(()),
            Some(c) => Err(Self::error(
                at,
                format!("the database's encoding cannot hold `{c}`, so that no value has it"),
            )),
        }
    }

    /// A constant that has met its type; null is null of any type.
    pub(super) fn literal_as(&self, literal: Typed, target: &Type) -> Result<Typed> {
        let constant = match literal.node {
            Node::Constant(None) => None,
            Node::Constant(Some(Constant::Text(text))) => {
                let constant = constant_of(&text, target)
                    .map_err(|message| Self::error(&literal.at, message))?;
                // Escapes of JSON have become characters.
                if let Constant::Text(text) = &constant {
                    self.must_hold(text, &literal.at)?;
                }
                Some(constant)
            }
            node => {
                return Ok(Typed {
                    node,
                    r#type: target.clone(),
                    ..literal
                });
            }
        };
        Ok(Typed {
            node: Node::Constant(constant),
            r#type: target.clone(),
            at: literal.at,
            collation: None,
        })
    }

    pub(super) fn is_null_constant(expr: &Expr) -> bool {
        matches!(expr.kind, crate::mapping::language::syntax::Kind::Null)
    }
}

/// The value that the server reads from the quoted text, or why there is none.
pub(super) fn constant_of(text: &str, target: &Type) -> Result<Constant, String> {
    let no = |what: &str| format!("'{text}' is no {what}");
    let time = |error: &dyn std::fmt::Display| {
        let error = error.to_string();
        let hint = time_hint(text, target, &error);
        format!("{error}{hint}")
    };
    Ok(match target {
        Type::Bool => Constant::Bool(boolean(text).ok_or_else(|| {
            format!("'{text}' is neither true nor false: write true or false, without quotes")
        })?),
        Type::Int2 | Type::Int4 | Type::Int8 => {
            let parsed = match target {
                Type::Int2 => number::integer::parse::<i16>(text).map(i64::from),
                Type::Int4 => number::integer::parse::<i32>(text).map(i64::from),
                _ => number::integer::parse::<i64>(text),
            };
            let error = |error| match text.trim().parse::<f64>() {
                Ok(_) => {
                    format!("'{text}' is no {target} ({error}): write the number without quotes")
                }
                Err(_) => no_number(text, &target.to_string()),
            };
            Constant::Integer(parsed.map_err(error)?)
        }
        Type::Numeric => {
            Constant::Numeric(Decimal::parse(text).map_err(|_| no_number(text, "numeric"))?)
        }
        Type::Float4 => {
            Constant::Float4(number::float::parse_f32(text).map_err(|_| no_number(text, "real"))?)
        }
        Type::Float8 => Constant::Float8(
            number::float::parse_f64(text).map_err(|_| no_number(text, "double precision"))?,
        ),
        Type::Text | Type::Varchar | Type::Char | Type::Member | Type::Unknown => {
            Constant::Text(text.to_owned())
        }
        Type::Enum(of) => match of.labels.iter().any(|label| label == text) {
            true => Constant::Text(text.to_owned()),
            false => {
                let labels = of.labels.iter().map(String::as_str);
                let near = suggestion(text, labels.clone()).replace('`', "'");
                let all: Vec<String> = labels.take(12).map(|label| format!("'{label}'")).collect();
                let more = if of.labels.len() > all.len() {
                    ", …"
                } else {
                    ""
                };
                return Err(format!(
                    "{} has no label '{text}'{near}; it has {}{more}",
                    of.name,
                    all.join(", ")
                ));
            }
        },
        Type::Uuid => Constant::Text(uuid(text).ok_or_else(|| {
            format!(
                "{}: expected one as in 019acb4e-6c5e-7c4f-9a52-5a8c3a4c7d10",
                no("uuid")
            )
        })?),
        Type::Date => Constant::Date(Date::parse_literal(text).map_err(|error| time(&error))?),
        Type::Timestamp => {
            Constant::Timestamp(Timestamp::parse_literal(text).map_err(|error| time(&error))?)
        }
        Type::Timestamptz => {
            Constant::Timestamp(Timestamp::parse_literal_tz(text).map_err(|error| time(&error))?)
        }
        Type::Interval => {
            Constant::Interval(Interval::parse_literal(text).map_err(|error| time(&error))?)
        }
        Type::Jsonb => Constant::Text(
            json::to_jsonb_text(text).map_err(|error| no_json(text, &error.to_string()))?,
        ),
        Type::Json => Constant::Text(
            json::Json::parse(text)
                .map(|_| text.to_owned())
                .map_err(|error| no_json(text, &error.to_string()))?,
        ),
        Type::Bytea => Constant::Text(bytea(text).ok_or_else(|| {
            format!("'{text}' is no bytea: expected hexadecimal digits, as in '\\x00ff'")
        })?),
        Type::Array(of) => {
            let mut read = array::parse(text).map_err(|error| {
                let inner = text.trim_start_matches('[').trim_end_matches(']').replace(['"', '\''], "");
                match text.trim_start().starts_with('{') {
                    _ if inner.is_empty() => format!("'{text}' is no array: write '{{}}' for an empty one"),
                    true => format!("'{text}' is no array, as in '{{a,b}}': {error}"),
                    false => format!(
                        "'{text}' is no array: write '{{{inner}}}', or for one element '{inner}' = any(array)"
                    ),
                }
            })?;
            for element in read.elements.iter_mut().flatten() {
                let constant = constant_of(element, of)?;
                *element = Cow::Owned(output(&constant, of));
            }
            Constant::Text(read.to_text())
        }
        Type::Opaque(name) => {
            return Err(format!(
                "values of type {name} are compared with null only: write `is null`; whether it changed says changed(column)"
            ));
        }
    })
}

fn no_number(text: &str, target: &str) -> String {
    let plain: String = text
        .chars()
        .filter(|c| !matches!(c, ',' | '_' | ' ' | '$' | '€'))
        .collect();
    if plain.len() < text.len() && plain.parse::<f64>().is_ok() {
        return format!("'{text}' is no {target}: write {plain}");
    }
    let hint = match Interval::parse_literal(text) {
        Ok(_) => format!(
            "; a span of time is compared with an interval, as in a - b > interval '{text}'"
        ),
        Err(_) => String::new(),
    };
    format!("'{text}' is no {target}: expected a number, such as 5{hint}")
}

fn no_json(text: &str, error: &str) -> String {
    let doubled = text.replace('\'', "\"");
    let hint = match text.trim_start().starts_with(['{', '[']) {
        true if json::Json::parse(&doubled).is_ok() => {
            format!("names and texts within JSON stand in double quotes, '{doubled}'")
        }
        true => {
            "names and texts within JSON stand in double quotes, as in '{\"channel\": \"web\"}'"
                .to_owned()
        }
        false => format!(
            "a text within JSON is written '\"{text}\"'; to compare texts write ->> instead of ->"
        ),
    };
    format!("'{text}' is no JSON ({error}): {hint}")
}

/// The right spelling of a time that others write in another way.
fn time_hint(text: &str, target: &Type, error: &str) -> String {
    let word = text.trim().to_ascii_lowercase();
    if *target == Type::Interval {
        return match error {
            _ if error.contains("is no unit") => {
                ": there are years, months, weeks, days, hours, minutes and seconds".to_owned()
            }
            _ if error.contains("only seconds") => {
                ": write it in smaller units, as in '36 hours'".to_owned()
            }
            _ => String::new(),
        };
    }
    let now = match target {
        Type::Date => "committed_at::date",
        _ => "committed_at",
    };
    match word.as_str() {
        "now" | "today" | "current_timestamp" | "current_date" => return format!(": write {now}"),
        "yesterday" => return format!(": write {now} - interval '1 day'"),
        "tomorrow" => return format!(": write {now} + interval '1 day'"),
        _ => {}
    }
    if Interval::parse_literal(text).is_ok() {
        let (sign, span) = match word.strip_suffix(" ago") {
            None if word.starts_with('-') => ("-", &word[1..]),
            None => ("+", word.as_str()),
            Some(span) => ("-", span),
        };
        return format!(
            ": a span of time is no point in it; write {now} {sign} interval '{}'",
            span.trim()
        );
    }
    if error.contains(": month ") {
        return ": months are 01 to 12, after the year, as in '2024-01-31'".to_owned();
    }
    if word.ends_with("am") || word.ends_with("pm") {
        return ": hours are 00 to 23, as in 22:00".to_owned();
    }
    if word.len() > "2024-01-31 10:00".len()
        && word.contains(|c: char| c.is_ascii_alphabetic() && c != 't' && c != 'z')
    {
        return ": a zone is its distance from UTC, as in +01:00".to_owned();
    }
    let parts: Vec<&str> = word.split(['.', '/', '-']).collect();
    let numbers: Option<Vec<u32>> = parts.iter().map(|part| part.parse().ok()).collect();
    let (Some(numbers), [first, _, _]) = (numbers, parts.as_slice()) else {
        return match error.ends_with("YYYYMMDD") {
            true => ", as in '2024-01-31'".to_owned(),
            false => String::new(),
        };
    };
    let (year, month, day) = match numbers.as_slice() {
        [a, b, c] if first.len() == 4 => (*a, *b, *c),
        [a, b, c] if *a > 12 || word.contains('.') => (*c, *b, *a),
        [a, b, c] => (*c, *a, *b),
        _ => return String::new(),
    };
    match year >= 1000 && (1..=12).contains(&month) && (1..=31).contains(&day) {
        true if first.len() == 4
            && parts.iter().all(|part| part.len() > 1)
            && word.contains('-') =>
        {
            String::new()
        }
        true => format!(": write '{year:04}-{month:02}-{day:02}'"),
        false => String::new(),
    }
}

/// As the server prints a value of the type.
fn output(constant: &Constant, r#type: &Type) -> String {
    let mut out = String::new();
    match (constant, r#type) {
        (Constant::Timestamp(value), Type::Timestamptz) => value.write_timestamptz(&mut out),
        (constant, _) => write_output(&mut out, &constant.as_value()),
    }
    out
}

/// As `parse_bool` reads it: blanks around, any case, and unique beginnings.
pub(in crate::mapping::language) fn boolean(text: &str) -> Option<bool> {
    let blank = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}');
    let word = text.trim_matches(blank).to_ascii_lowercase();
    let begins = |whole: &str, least: usize| word.len() >= least && whole.starts_with(&word);
    match word.as_str() {
        "1" => Some(true),
        "0" => Some(false),
        _ if begins("true", 1) || begins("yes", 1) || word == "on" => Some(true),
        _ if begins("false", 1) || begins("no", 1) || begins("off", 2) => Some(false),
        _ => None,
    }
}

/// A uuid in any spelling that `uuid_in` takes, in the one that it prints: hyphens after
/// any group of four digits, braces around.
pub(in crate::mapping::language) fn uuid(text: &str) -> Option<String> {
    let inner = match text.strip_prefix('{') {
        Some(inner) => inner.strip_suffix('}')?,
        None => text,
    };
    let mut digits = String::with_capacity(36);
    let (mut count, mut hyphen) = (0usize, false);
    for c in inner.chars() {
        if c == '-' {
            if hyphen || count == 0 || count % 4 != 0 || count == 32 {
                return None;
            }
            hyphen = true;
            continue;
        }
        if !c.is_ascii_hexdigit() || count == 32 {
            return None;
        }
        if matches!(count, 8 | 12 | 16 | 20) {
            digits.push('-');
        }
        digits.push(c.to_ascii_lowercase());
        count += 1;
        hyphen = false;
    }
    (count == 32 && !hyphen).then_some(digits)
}

/// `\x` and pairs of hexadecimal digits, with blanks between pairs as `bytea_in` allows them.
fn bytea(text: &str) -> Option<String> {
    let hex = text.strip_prefix("\\x")?;
    let mut out = String::from("\\x");
    let mut half = false;
    for c in hex.chars() {
        match c {
            ' ' | '\t' | '\n' | '\r' if !half => {}
            c if c.is_ascii_hexdigit() => {
                out.push(c.to_ascii_lowercase());
                half = !half;
            }
            _ => return None,
        }
    }
    (!half).then_some(out)
}
