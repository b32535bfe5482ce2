//! `->`, `->>`, `?`, the length and the type of a value, read from its text.

use std::borrow::Cow;

use super::JsonError;
use super::scan::{Next, Scanner, check_escapes, string_equals, unescape};

/// json keeps its text as written; jsonb is printed in normal form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Json,
    Jsonb,
}

/// A json or jsonb value: the whole text of a column, or a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice<'a> {
    pub text: &'a str,
    pub kind: Kind,
}

/// The right side of `->` and `->>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'s> {
    Key(&'s str),
    /// From the end when negative.
    Index(i32),
}

impl<'a> Slice<'a> {
    /// `->`: the member or element, none where the server gives null.
    pub fn get(self, step: Step<'_>) -> Result<Option<Slice<'a>>, JsonError> {
        if self.kind == Kind::Json {
            // The server unescapes every string of a json while it looks.
            check_escapes(self.text, |_| true)?;
        }
        match step {
            Step::Key(key) => self.member(key),
            Step::Index(index) => self.element(index),
        }
    }

    /// The value as text, as `->>` and `#>>` give it; JSON's null is none.
    pub fn as_text(self) -> Result<Option<Cow<'a, str>>, JsonError> {
        let mut scanner = Scanner::new(self.text);
        match scanner.peek() {
            Some(b'"') => {
                let offset = scanner.position() + 1;
                unescape(scanner.string()?, offset).map(Some)
            }
            Some(b'n') => Ok(None),
            Some(_) => Ok(Some(Cow::Borrowed(self.text))),
            None => Err(scanner.expected("a JSON value")),
        }
    }

    /// `?` of jsonb: whether the text is a key of the object, or a string of the array, or
    /// the string itself.
    pub fn exists(self, wanted: &str) -> Result<bool, JsonError> {
        let mut scanner = Scanner::new(self.text);
        match scanner.peek() {
            Some(b'{') => Ok(self.member(wanted)?.is_some()),
            Some(b'[') => {
                scanner.advance();
                let mut next = Next::First;
                while scanner.next_element(&mut next)? {
                    if scanner.peek() != Some(b'"') {
                        scanner.skip_value()?;
                    } else if string_equals(scanner.string()?, wanted)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Some(b'"') => string_equals(scanner.string()?, wanted),
            Some(_) => Ok(false),
            None => Err(scanner.expected("a JSON value")),
        }
    }

    /// jsonb_array_length and json_array_length.
    pub fn array_length(self) -> Result<usize, JsonError> {
        let mut scanner = Scanner::new(self.text);
        match scanner.peek() {
            Some(b'[') => {
                scanner.advance();
                scanner.count_elements()
            }
            Some(b'{') => Err(JsonError::LengthOfObject),
            Some(_) => Err(JsonError::LengthOfScalar),
            None => Err(scanner.expected("a JSON value")),
        }
    }

    /// jsonb_typeof and json_typeof.
    pub fn type_name(self) -> Result<&'static str, JsonError> {
        let scanner = Scanner::new(self.text);
        match scanner.peek() {
            Some(b'{') => Ok("object"),
            Some(b'[') => Ok("array"),
            Some(b'"') => Ok("string"),
            Some(b't' | b'f') => Ok("boolean"),
            Some(b'n') => Ok("null"),
            Some(b'-' | b'0'..=b'9') => Ok("number"),
            _ => Err(scanner.expected("a JSON value")),
        }
    }

    /// The member of an object, escapes unchecked.
    pub(super) fn member(self, wanted: &str) -> Result<Option<Slice<'a>>, JsonError> {
        let mut scanner = Scanner::new(self.text);
        if !scanner.eat(b'{') {
            return match scanner.peek() {
                Some(_) => Ok(None),
                None => Err(scanner.expected("a JSON value")),
            };
        }
        let mut found = None;
        let mut next = Next::First;
        while let Some(key) = scanner.next_member(&mut next)? {
            let matches = string_equals(key, wanted)?;
            // jsonb sorts its keys by length first: no later one is shorter.
            if self.kind == Kind::Jsonb && !matches && is_longer(key, wanted) {
                return Ok(None);
            }
            let start = scanner.position();
            scanner.skip_value()?;
            if matches {
                found = Some(self.part(scanner.since(start)));
                // json may repeat a key, and its last member counts.
                if self.kind == Kind::Jsonb {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// The element of an array, escapes unchecked.
    pub(super) fn element(self, index: i32) -> Result<Option<Slice<'a>>, JsonError> {
        let mut scanner = Scanner::new(self.text);
        match scanner.peek() {
            Some(b'[') => scanner.advance(),
            Some(b'{') => return Ok(None),
            // To the server a jsonb scalar is an array of one element.
            Some(_) if self.kind == Kind::Jsonb && matches!(index, 0 | -1) => {
                return Ok(Some(self));
            }
            Some(_) => return Ok(None),
            None => return Err(scanner.expected("a JSON value")),
        }
        let wanted = match usize::try_from(index) {
            Ok(wanted) => wanted,
            Err(_) => {
                let from_end = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
                match scanner.count_elements()?.checked_sub(from_end) {
                    Some(wanted) => wanted,
                    None => return Ok(None),
                }
            }
        };
        let mut next = Next::First;
        let mut position = 0;
        while scanner.next_element(&mut next)? {
            let start = scanner.position();
            scanner.skip_value()?;
            if position == wanted {
                return Ok(Some(self.part(scanner.since(start))));
            }
            position += 1;
        }
        Ok(None)
    }

    pub(super) fn part(self, text: &'a str) -> Slice<'a> {
        Slice {
            text,
            kind: self.kind,
        }
    }
}

/// Whether a key between quotes is longer than `wanted` in every encoding of a database,
/// by which jsonb counts; false where only unescaping tells.
fn is_longer(raw_key: &str, wanted: &str) -> bool {
    raw_key.len() > wanted.len()
        && raw_key.is_ascii()
        && wanted.is_ascii()
        && !raw_key.contains('\\')
}
