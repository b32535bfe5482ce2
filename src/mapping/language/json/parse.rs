//! The parser of any JSON text. It keeps its own stack, so that no text overflows the
//! thread's.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::scan::{Scanner, unescape};
use super::{Json, JsonError, MAX_DEPTH, number};

impl<'a> Json<'a> {
    /// Parses a JSON text as it is written: members in their order, repeated keys kept.
    pub fn parse(text: &'a str) -> Result<Self, JsonError> {
        Parser {
            scanner: Scanner::new(text),
            open: Vec::new(),
        }
        .parse(|_| true)
    }

    /// Parses a literal of jsonb, or the text that the server prints of one: members by
    /// the length and bytes of their keys, the last one of a key. Fails where jsonb's
    /// input does.
    pub fn parse_jsonb(text: &'a str) -> Result<Self, JsonError> {
        let mut parser = Parser {
            scanner: Scanner::new(text),
            open: Vec::new(),
        };
        parser.parse(number::fits_numeric).map(|mut value| {
            value.sort();
            value
        })
    }

    fn sort(&mut self) {
        match self {
            Json::Object(members) => {
                // The sort is stable: of equal keys the last written is the last.
                if !members.is_sorted_by(|a, b| key_order(&a.0, &b.0).is_lt()) {
                    members.sort_by(|a, b| key_order(&a.0, &b.0));
                    members.dedup_by(|later, kept| {
                        let same = later.0 == kept.0;
                        if same {
                            std::mem::swap(later, kept);
                        }
                        same
                    });
                }
                for (_, value) in members {
                    value.sort();
                }
            }
            Json::Array(elements) => {
                for element in elements {
                    element.sort();
                }
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
        }
    }
}

/// The order of jsonb's keys in a database whose encoding is UTF-8.
pub(super) fn key_order(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// An array or object whose end is not read yet.
enum Open<'a> {
    Array(Vec<Json<'a>>),
    /// With the key whose value comes next.
    Object(Vec<(Cow<'a, str>, Json<'a>)>, Cow<'a, str>),
}

struct Parser<'a> {
    scanner: Scanner<'a>,
    open: Vec<Open<'a>>,
}

impl<'a> Parser<'a> {
    fn parse(&mut self, number_fits: impl Fn(&str) -> bool) -> Result<Json<'a>, JsonError> {
        loop {
            let Some(mut value) = self.value(&number_fits)? else {
                continue;
            };
            // The value may be the last of its container, and that of its own.
            loop {
                self.scanner.skip_blanks();
                match self.open.pop() {
                    None => {
                        return match self.scanner.peek() {
                            None => Ok(value),
                            Some(_) => Err(self.scanner.expected("the end of the JSON text")),
                        };
                    }
                    Some(Open::Array(mut elements)) => {
                        elements.push(value);
                        if self.scanner.eat(b',') {
                            self.open.push(Open::Array(elements));
                            break;
                        }
                        if !self.scanner.eat(b']') {
                            return Err(self.scanner.expected("`,` or `]`"));
                        }
                        value = Json::Array(elements);
                    }
                    Some(Open::Object(mut members, key)) => {
                        members.push((key, value));
                        if self.scanner.eat(b',') {
                            let key = self.key("a string")?;
                            self.open.push(Open::Object(members, key));
                            break;
                        }
                        if !self.scanner.eat(b'}') {
                            return Err(self.scanner.expected("`,` or `}`"));
                        }
                        value = Json::Object(members);
                    }
                }
            }
        }
    }

    /// Reads a value, or opens an array or object that has one and gives none.
    fn value(
        &mut self,
        number_fits: &impl Fn(&str) -> bool,
    ) -> Result<Option<Json<'a>>, JsonError> {
        self.scanner.skip_blanks();
        let offset = self.scanner.position();
        match self.scanner.peek() {
            Some(b'{' | b'[') if self.open.len() >= MAX_DEPTH => Err(JsonError::Depth { offset }),
            Some(b'{') => {
                self.scanner.advance();
                self.scanner.skip_blanks();
                if self.scanner.eat(b'}') {
                    return Ok(Some(Json::Object(Vec::new())));
                }
                let key = self.key("a string or `}`")?;
                self.open.push(Open::Object(Vec::new(), key));
                Ok(None)
            }
            Some(b'[') => {
                self.scanner.advance();
                self.scanner.skip_blanks();
                if self.scanner.eat(b']') {
                    return Ok(Some(Json::Array(Vec::new())));
                }
                self.open.push(Open::Array(Vec::new()));
                Ok(None)
            }
            Some(b'"') => Ok(Some(Json::String(self.string()?))),
            Some(b'-' | b'0'..=b'9') => {
                let text = self.number()?;
                match number_fits(text) {
                    true => Ok(Some(Json::Number(text))),
                    false => Err(JsonError::Overflow { offset }),
                }
            }
            _ => {
                let words = [
                    ("null", Json::Null),
                    ("true", Json::Bool(true)),
                    ("false", Json::Bool(false)),
                ];
                for (word, value) in words {
                    if self.scanner.rest().starts_with(word) {
                        for _ in 0..word.len() {
                            self.scanner.advance();
                        }
                        return Ok(Some(value));
                    }
                }
                Err(self.scanner.expected("a JSON value"))
            }
        }
    }

    fn key(&mut self, expected: &'static str) -> Result<Cow<'a, str>, JsonError> {
        self.scanner.skip_blanks();
        if self.scanner.peek() != Some(b'"') {
            return Err(self.scanner.expected(expected));
        }
        let key = self.string()?;
        self.scanner.skip_blanks();
        match self.scanner.eat(b':') {
            true => Ok(key),
            false => Err(self.scanner.expected("`:`")),
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        let start = self.scanner.position() + 1;
        let raw = self.scanner.string()?;
        // Without a branch per byte, which is much faster.
        if raw.bytes().fold(false, |met, byte| met | (byte < b' ')) {
            let mut bytes = raw.bytes().enumerate();
            if let Some((place, byte)) = bytes.find(|(_, byte)| *byte < b' ') {
                return Err(JsonError::Control {
                    offset: start + place,
                    byte,
                });
            }
        }
        unescape(raw, start)
    }

    fn number(&mut self) -> Result<&'a str, JsonError> {
        let start = self.scanner.position();
        self.scanner.eat(b'-');
        if !self.scanner.eat(b'0') {
            self.digits()?;
        }
        if self.scanner.eat(b'.') {
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.scanner.peek() {
            self.scanner.advance();
            if let Some(b'+' | b'-') = self.scanner.peek() {
                self.scanner.advance();
            }
            self.digits()?;
        }
        Ok(self.scanner.since(start))
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.scanner.position();
        while let Some(b'0'..=b'9') = self.scanner.peek() {
            self.scanner.advance();
        }
        match self.scanner.position() == start {
            true => Err(self.scanner.expected("a digit")),
            false => Ok(()),
        }
    }
}
