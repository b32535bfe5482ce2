//! Functions of texts, and the calls of all others.

use std::borrow::Cow;

use crate::mapping::language::array;
use crate::mapping::language::json::{Kind, Slice};
use crate::mapping::language::program::{Function, Node, NumberKind, Version};
use crate::mapping::language::value::Value;

use super::compare::of_json;
use super::convert::of_time;
use super::like::of_letters;
use super::number::{Rounding, abs, rounded};
use super::{Evaluation, Failure, Result, Row, failed};

type Text<'a> = Cow<'a, str>;

impl<'a, R: Row> Evaluation<'a, R> {
    pub(super) fn call(
        &'a self,
        function: Function,
        arguments: &'a [Node],
        current: Version,
    ) -> Result<Option<Value<'a>>> {
        self.step(1)?;
        if function == Function::Concat {
            return self.concat(arguments, current).map(Some);
        }
        let mut values = Vec::with_capacity(arguments.len());
        let mut null = false;
        for argument in arguments {
            match self.evaluate(argument, current)? {
                Some(value) => {
                    if let Value::Text(text) = &value {
                        self.pass(text.len(), 256)?;
                    }
                    values.push(value);
                }
                None => null = true,
            }
        }
        if null {
            return Ok(None);
        }
        self.apply(function, Arguments(values.into_iter()))
            .map(Some)
    }

    fn apply(&self, function: Function, mut of: Arguments<'a>) -> Result<Value<'a>> {
        let rounding = |rounding, mut of: Arguments<'a>, _: NumberKind| {
            let value = of.next()?;
            let places = match of.0.len() {
                0 => 0,
                _ => of.integer()?,
            };
            rounded(rounding, &value, places)
        };
        Ok(match function {
            Function::Concatenate => {
                let (left, right) = (of.text()?, of.text()?);
                self.make(left.len() + right.len())?;
                text(left.into_owned() + &right)
            }
            Function::Lower(case) => {
                let of = of.text()?;
                self.make(of.len())?;
                Value::Text(self.letters_of(case).lower(of).map_err(of_letters)?)
            }
            Function::Upper(case) => {
                let of = of.text()?;
                self.make(of.len())?;
                Value::Text(self.letters_of(case).upper(of).map_err(of_letters)?)
            }
            Function::Length => integer(of.text()?.chars().count())?,
            Function::ByteaLength => integer(hexadecimal(&of.text()?)?.len() / 2)?,
            Function::Trim { left, right } => {
                let of_text = of.text()?;
                let set = match of.0.len() {
                    0 => Cow::Borrowed(" "),
                    _ => of.text()?,
                };
                Value::Text(within(of_text, |whole| {
                    let whole = if left {
                        whole.trim_start_matches(|c| set.contains(c))
                    } else {
                        whole
                    };
                    if right {
                        whole.trim_end_matches(|c| set.contains(c))
                    } else {
                        whole
                    }
                }))
            }
            Function::Left => {
                let (whole, count) = (of.text()?, of.integer()?);
                Value::Text(within(whole, |whole| {
                    let end = place(whole, count);
                    whole.get(..end).unwrap_or_default()
                }))
            }
            Function::Right => {
                let (whole, count) = (of.text()?, of.integer()?);
                Value::Text(within(whole, |whole| match count {
                    0 => "",
                    // Its negation overflows, in the server too.
                    i32::MIN => whole,
                    _ => whole.get(place(whole, -count)..).unwrap_or_default(),
                }))
            }
            Function::Substring => {
                let (whole, from) = (of.text()?, of.integer()?);
                let end = match of.0.len() {
                    0 => None,
                    _ => match of.integer()? {
                        length if length < 0 => {
                            return failed("negative substring length not allowed");
                        }
                        length => from.checked_add(length),
                    },
                };
                Value::Text(within(whole, |whole| substring(whole, from, end)))
            }
            Function::SplitPart => {
                let (whole, delimiter, field) = (of.text()?, of.text()?, of.integer()?);
                if field == 0 {
                    return failed("field position must not be zero");
                }
                Value::Text(within(whole, |whole| split_part(whole, &delimiter, field)))
            }
            Function::Replace => {
                let (whole, from, to) = (of.text()?, of.text()?, of.text()?);
                if from.is_empty() {
                    return Ok(Value::Text(whole));
                }
                let count = whole.matches(&*from).count();
                self.make(whole.len().saturating_add(count.saturating_mul(to.len())))?;
                text(whole.replace(&*from, &to))
            }
            Function::StartsWith => Value::Bool(of.text()?.starts_with(&*of.text()?)),
            Function::Strpos => {
                let (whole, part) = (of.text()?, of.text()?);
                match whole.find(&*part) {
                    None => Value::Integer(0),
                    Some(at) => integer(whole.get(..at).unwrap_or_default().chars().count() + 1)?,
                }
            }
            Function::Abs(kind) => abs(kind, &of.next()?)?,
            Function::Round(kind) => rounding(Rounding::Round, of, kind)?,
            Function::Trunc(kind) => rounding(Rounding::Trunc, of, kind)?,
            Function::Floor(kind) => rounding(Rounding::Floor, of, kind)?,
            Function::Ceil(kind) => rounding(Rounding::Ceil, of, kind)?,
            Function::DateTrunc(field, _) => match of.next()? {
                Value::Timestamp(value) => {
                    Value::Timestamp(field.of_timestamp(value).map_err(of_time)?)
                }
                _ => return failed("a timestamp is expected"),
            },
            Function::JsonArrayLength => {
                let text = of.text()?;
                let document = Slice {
                    text: &text,
                    kind: Kind::Jsonb,
                };
                integer(document.array_length().map_err(of_json)?)?
            }
            Function::Cardinality => match array::cardinality(&of.text()?) {
                Ok(count) => integer(count)?,
                Err(_) => return failed("an array cannot be read"),
            },
            Function::Encode { base64: encoded } => {
                let of = of.text()?;
                let hex = hexadecimal(&of)?;
                self.make(hex.len())?;
                match encoded {
                    true => text(base64(hex)),
                    false => text(hex.to_owned()),
                }
            }
            // Takes nulls, and stands apart.
            Function::Concat => return failed("concat is evaluated by itself"),
        })
    }

    fn concat(&'a self, arguments: &'a [Node], current: Version) -> Result<Value<'a>> {
        let mut joined = String::new();
        for argument in arguments {
            if let Some(part) = self.text(argument, current)? {
                self.make(part.len())?;
                joined.push_str(&part);
            }
        }
        Ok(text(joined))
    }
}

/// The values of a function's arguments, none of them null.
struct Arguments<'a>(std::vec::IntoIter<Value<'a>>);

impl<'a> Arguments<'a> {
    fn next(&mut self) -> Result<Value<'a>> {
        self.0
            .next()
            .ok_or_else(|| Failure::Failed("an argument is missing".to_owned()))
    }

    fn text(&mut self) -> Result<Text<'a>> {
        match self.next()? {
            Value::Text(text) => Ok(text),
            _ => failed("a text is expected"),
        }
    }

    fn integer(&mut self) -> Result<i32> {
        match self.next()? {
            Value::Integer(value) => {
                i32::try_from(value).map_err(|_| Failure::Failed("integer out of range".to_owned()))
            }
            _ => failed("an integer is expected"),
        }
    }
}

fn text<'a>(text: String) -> Value<'a> {
    Value::Text(Cow::Owned(text))
}

fn integer<'a>(count: usize) -> Result<Value<'a>> {
    match i32::try_from(count) {
        Ok(count) => Ok(Value::Integer(count.into())),
        Err(_) => failed("integer out of range"),
    }
}

/// A part of the text, borrowed where the text is.
fn within<'a>(text: Text<'a>, part: impl Fn(&str) -> &str) -> Text<'a> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(part(text)),
        Cow::Owned(text) => Cow::Owned(part(&text).to_owned()),
    }
}

/// Where the character with this number from the begin, or from the end where it is
/// negative, begins.
fn place(text: &str, count: i32) -> usize {
    match usize::try_from(count) {
        Ok(count) => text
            .char_indices()
            .nth(count)
            .map_or(text.len(), |(at, _)| at),
        Err(_) => {
            let count = count.unsigned_abs() as usize;
            text.char_indices()
                .rev()
                .nth(count - 1)
                .map_or(0, |(at, _)| at)
        }
    }
}

/// From the character with this number, counted from 1, to before `end`, as
/// `text_substring` counts.
fn substring(text: &str, from: i32, end: Option<i32>) -> &str {
    let start = usize::try_from(i64::from(from) - 1).unwrap_or(0);
    let end = match end {
        Some(end) if end < 1 => return "",
        Some(end) => usize::try_from(i64::from(end) - 1).unwrap_or(0),
        None => usize::MAX,
    };
    if end <= start {
        return "";
    }
    let byte = |count: usize| {
        text.char_indices()
            .nth(count)
            .map_or(text.len(), |(at, _)| at)
    };
    text.get(byte(start)..byte(end)).unwrap_or_default()
}

fn split_part<'t>(text: &'t str, delimiter: &str, field: i32) -> &'t str {
    if delimiter.is_empty() {
        return if field == 1 || field == -1 { text } else { "" };
    }
    let count = field.unsigned_abs() as usize - 1;
    match field > 0 {
        true => text.split(delimiter).nth(count).unwrap_or_default(),
        false => {
            // The server counts the fields from the left.
            let all = text.split(delimiter).count();
            match all.checked_sub(count + 1) {
                Some(at) => text.split(delimiter).nth(at).unwrap_or_default(),
                None => "",
            }
        }
    }
}

/// The digits of a bytea as the server prints it.
fn hexadecimal(text: &str) -> Result<&str> {
    match text.strip_prefix("\\x") {
        Some(digits) => Ok(digits),
        None => failed("a bytea cannot be read"),
    }
}

/// With the server's line breaks: one behind each 76 characters that full groups fill.
fn base64(hex: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0);
    let bytes: Vec<u32> = hex
        .as_bytes()
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, half| byte << 4 | digit(*half)))
        .collect();
    let mut out = String::new();
    let mut line = 0;
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0, |bits, byte| bits << 8 | byte) << (8 * (3 - group.len()));
        for at in 0..4 {
            let index = (bits >> (18 - 6 * at) & 63) as usize;
            match at <= group.len() {
                true => out.push(ALPHABET.get(index).copied().map_or('=', char::from)),
                false => out.push('='),
            }
        }
        line += 4;
        if line >= 76 && group.len() == 3 {
            out.push('\n');
            line = 0;
        }
    }
    out
}
