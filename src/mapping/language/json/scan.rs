//! A scanner of JSON that the server has checked: it finds the ends of values and skips
//! them without recursion. Malformed text gives an error or a wrong part, never a panic.

use std::borrow::Cow;

use super::JsonError;

#[derive(Debug, Clone, Copy)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    position: usize,
}

/// Where the reading of an array or object stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    First,
    Later,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let mut scanner = Self { text, position: 0 };
        scanner.skip_blanks();
        scanner
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }

    pub(super) fn advance(&mut self) {
        self.position += 1;
    }

    pub(super) fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.position += 1;
        }
    }

    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let met = self.peek() == Some(byte);
        self.position += usize::from(met);
        met
    }

    pub(super) fn expected(&self, expected: &'static str) -> JsonError {
        JsonError::Syntax {
            offset: self.position,
            expected,
            met: self
                .text
                .get(self.position..)
                .and_then(|rest| rest.chars().next()),
        }
    }

    /// The text from `start` to the position.
    pub(super) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.position).unwrap_or_default()
    }

    /// The text from the position on.
    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.position..).unwrap_or_default()
    }

    /// Reads a string and returns what is between its quotes, escapes as written.
    pub(super) fn string(&mut self) -> Result<&'a str, JsonError> {
        if !self.eat(b'"') {
            return Err(self.expected("a string"));
        }
        let start = self.position;
        loop {
            let bytes = self.text.as_bytes().get(self.position..);
            let Some(found) = bytes.and_then(quote_or_backslash) else {
                self.position = self.text.len();
                return Err(self.expected("`\"`"));
            };
            self.position += found;
            if self.peek() == Some(b'"') {
                let raw = self.since(start);
                self.position += 1;
                return Ok(raw);
            }
            self.position += 2;
        }
    }

    /// Reads a number, or one of the words `true`, `false`, `null`, unchecked.
    pub(super) fn word(&mut self) -> Result<&'a str, JsonError> {
        let start = self.position;
        while let Some(b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z') = self.peek() {
            self.position += 1;
        }
        if self.position == start {
            return Err(self.expected("a JSON value"));
        }
        Ok(self.since(start))
    }

    /// Reads past the value at the position.
    pub(super) fn skip_value(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'"') => self.string().map(|_| ()),
            Some(b'{' | b'[') => self.skip_container(),
            _ => self.word().map(|_| ()),
        }
    }

    fn skip_container(&mut self) -> Result<(), JsonError> {
        let bytes = self.text.as_bytes();
        let mut depth = 0_usize;
        let special = |byte: &u8| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']');
        while let Some(found) = bytes
            .get(self.position..)
            .and_then(|rest| rest.iter().position(special))
        {
            self.position += found;
            match self.peek() {
                Some(b'"') => {
                    self.string()?;
                    continue;
                }
                Some(b'{' | b'[') => depth += 1,
                _ => depth = depth.saturating_sub(1),
            }
            self.position += 1;
            if depth == 0 {
                return Ok(());
            }
        }
        self.position = self.text.len();
        Err(self.expected("`}` or `]`"))
    }

    /// Within an object, reads up to the next member's value and returns its key, escapes
    /// as written; none at the end, which is read too.
    pub(super) fn next_member(&mut self, next: &mut Next) -> Result<Option<&'a str>, JsonError> {
        if !self.next_item(next, b'}', "`,` or `}`")? {
            return Ok(None);
        }
        let key = self.string()?;
        self.skip_blanks();
        if !self.eat(b':') {
            return Err(self.expected("`:`"));
        }
        self.skip_blanks();
        Ok(Some(key))
    }

    /// Within an array, reads up to the next element; false at the end, which is read too.
    pub(super) fn next_element(&mut self, next: &mut Next) -> Result<bool, JsonError> {
        self.next_item(next, b']', "`,` or `]`")
    }

    fn next_item(
        &mut self,
        next: &mut Next,
        end: u8,
        expected: &'static str,
    ) -> Result<bool, JsonError> {
        self.skip_blanks();
        if self.eat(end) {
            return Ok(false);
        }
        match *next {
            Next::First => *next = Next::Later,
            Next::Later => {
                if !self.eat(b',') {
                    return Err(self.expected(expected));
                }
                self.skip_blanks();
            }
        }
        Ok(true)
    }

    /// The number of elements of the array whose `[` was just read. Does not move.
    pub(super) fn count_elements(&self) -> Result<usize, JsonError> {
        let mut ahead = *self;
        let mut next = Next::First;
        let mut count = 0;
        while ahead.next_element(&mut next)? {
            ahead.skip_value()?;
            count += 1;
        }
        Ok(count)
    }
}

/// The place of the first `"` or `\`, eight bytes at a time.
fn quote_or_backslash(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // The lowest byte that this marks is zero in `word`; higher marks may be false.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, bytes) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*bytes);
        let marks =
            zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\')));
        if marks != 0 {
            return Some(index * 8 + marks.trailing_zeros() as usize / 8);
        }
    }
    let found = tail.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    Some(words.len() * 8 + found)
}

/// The parts of a string's text between its quotes: as written, or unescaped.
#[derive(Debug, Clone)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    Char(char),
}

/// An iterator that unescapes. `offset` is the place of the rest in the whole text.
#[derive(Debug, Clone)]
pub(super) struct Pieces<'a> {
    rest: &'a str,
    offset: usize,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(raw: &'a str, offset: usize) -> Self {
        Self { rest: raw, offset }
    }

    fn take(&mut self, length: usize) -> Option<&'a str> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        self.offset += length;
        Some(taken)
    }

    /// Reads the escape whose backslash is next.
    fn escape(&mut self) -> Result<char, JsonError> {
        let offset = self.offset;
        let fail = |reason| Err(JsonError::Escape { offset, reason });
        let char = match self.take(2) {
            Some("\\\"") => '"',
            Some("\\\\") => '\\',
            Some("\\/") => '/',
            Some("\\b") => '\u{8}',
            Some("\\f") => '\u{c}',
            Some("\\n") => '\n',
            Some("\\r") => '\r',
            Some("\\t") => '\t',
            Some("\\u") => {
                let unit = self.code_unit()?;
                match unit {
                    0 => return fail("\\u0000 cannot be converted to text"),
                    0xd800..=0xdbff => {
                        let low = match self.rest.get(..2) {
                            Some("\\u") => {
                                self.take(2);
                                self.code_unit()?
                            }
                            _ => 0,
                        };
                        let pair = char::decode_utf16([unit, low]).next();
                        match pair {
                            Some(Ok(char)) => char,
                            _ => return fail("a low surrogate must follow a high surrogate"),
                        }
                    }
                    0xdc00..=0xdfff => return fail("a low surrogate must follow a high surrogate"),
                    // No surrogate: every other code unit is a character.
                    unit => char::from_u32(u32::from(unit)).unwrap_or_default(),
                }
            }
            _ => return fail("expected one of \" \\ / b f n r t u after the backslash"),
        };
        Ok(char)
    }

    fn code_unit(&mut self) -> Result<u16, JsonError> {
        let offset = self.offset;
        self.take(4)
            // from_str_radix takes a sign.
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|digits| u16::from_str_radix(digits, 16).ok())
            .ok_or(JsonError::Escape {
                offset,
                reason: "\\u must be followed by four hexadecimal digits",
            })
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Result<Piece<'a>, JsonError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.rest.find('\\') {
            Some(0) => {
                let piece = self.escape();
                if piece.is_err() {
                    self.rest = "";
                }
                Some(piece.map(Piece::Char))
            }
            _ if self.rest.is_empty() => None,
            Some(length) => self.take(length).map(|text| Ok(Piece::Text(text))),
            None => self.take(self.rest.len()).map(|text| Ok(Piece::Text(text))),
        }
    }
}

/// The string between quotes, unescaped. `offset` is its place in the whole text.
pub(super) fn unescape(raw: &str, offset: usize) -> Result<Cow<'_, str>, JsonError> {
    if !raw.contains('\\') {
        return Ok(Cow::Borrowed(raw));
    }
    let mut text = String::with_capacity(raw.len());
    for piece in Pieces::new(raw, offset) {
        match piece? {
            Piece::Text(part) => text.push_str(part),
            Piece::Char(char) => text.push(char),
        }
    }
    Ok(Cow::Owned(text))
}

/// Whether the string between quotes, unescaped, is `wanted`.
pub(super) fn string_equals(raw: &str, wanted: &str) -> Result<bool, JsonError> {
    // An escape is longer than its character.
    if raw.len() <= wanted.len() || !raw.contains('\\') {
        return Ok(raw == wanted && !raw.contains('\\'));
    }
    let mut rest = wanted;
    for piece in Pieces::new(raw, 0) {
        let after = match piece? {
            Piece::Text(part) => rest.strip_prefix(part),
            Piece::Char(char) => rest.strip_prefix(char),
        };
        match after {
            Some(after) => rest = after,
            None => return Ok(false),
        }
    }
    Ok(rest.is_empty())
}

/// Checks every escape of a valid JSON text: those that no text of the server can hold
/// (`\u0000`, lone surrogates) are errors, and characters that are not `allowed`, which
/// are those that the database's encoding lacks. `->` and the other operators of json fail
/// on such an escape anywhere in the value; jsonb's input has refused it.
pub fn check_escapes(text: &str, allowed: impl Fn(char) -> bool) -> Result<(), JsonError> {
    // A backslash of a valid text is within a string, and starts an escape.
    let mut pieces = Pieces::new(text, 0);
    loop {
        let offset = pieces.offset;
        match pieces.next().transpose()? {
            None => return Ok(()),
            Some(Piece::Char(char)) if !allowed(char) => {
                return Err(JsonError::Escape {
                    offset,
                    reason: "the database's encoding lacks the character",
                });
            }
            Some(Piece::Char(_) | Piece::Text(_)) => {}
        }
    }
}
