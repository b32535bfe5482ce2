//! The reading of an array's text, piece by piece.

use std::borrow::Cow;

use super::{ArrayError, MAX_DIMENSIONS, is_blank};

/// The elements of an array's text in row-major order, without a Vec of them. Malformed
/// text gives an error as the last item; sub-arrays of different lengths pass.
pub fn elements(text: &str) -> Elements<'_> {
    Elements(Source::Text(Events::new(text)))
}

/// The elements of an array's text, or of a parsed array.
#[derive(Debug, Clone)]
pub struct Elements<'a>(Source<'a>);

#[derive(Debug, Clone)]
enum Source<'a> {
    Text(Result<Events<'a>, ArrayError>),
    Parsed(std::slice::Iter<'a, Option<Cow<'a, str>>>),
    Failed,
}

impl<'a> Elements<'a> {
    pub(super) fn of_parsed(elements: &'a [Option<Cow<'a, str>>]) -> Self {
        Self(Source::Parsed(elements.iter()))
    }

    fn of_text(events: &mut Events<'a>) -> Result<Option<Option<Cow<'a, str>>>, ArrayError> {
        loop {
            match events.next()? {
                Event::Open | Event::Close => {}
                Event::Element(element) => return Ok(Some(element.text())),
                Event::End => return Ok(None),
            }
        }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Option<Cow<'a, str>>, ArrayError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = match &mut self.0 {
            Source::Text(Ok(events)) => Self::of_text(events),
            Source::Text(Err(error)) => Err(error.clone()),
            Source::Parsed(elements) => {
                return elements
                    .next()
                    .map(|element| Ok(element.as_deref().map(Cow::Borrowed)));
            }
            Source::Failed => return None,
        };
        if next.is_err() {
            self.0 = Source::Failed;
        }
        next.transpose()
    }
}

/// What the text between the outermost braces is made of; delimiters are left out.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event<'a> {
    Open,
    Close,
    Element(Element<'a>),
    End,
}

/// An element as written, without its quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element<'a> {
    raw: &'a str,
    quoted: bool,
    escaped: bool,
}

impl<'a> Element<'a> {
    /// The element's value; none is null.
    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        if !self.escaped {
            let null = !self.quoted && self.raw.eq_ignore_ascii_case("null");
            return (!null).then_some(Cow::Borrowed(self.raw));
        }
        let mut text = String::with_capacity(self.raw.len());
        let mut chars = self.raw.chars();
        while let Some(char) = chars.next() {
            text.extend(if char == '\\' {
                chars.next()
            } else {
                Some(char)
            });
        }
        Some(Cow::Owned(text))
    }
}

/// What may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing is read yet.
    Start,
    /// After `{`: an element or a sub-array; at the top also the end.
    Opened,
    /// After `,`.
    Delimited,
    /// After an element or a sub-array.
    Completed,
    /// After the last `}`.
    Closed,
}

/// A reader of an array's braces and elements that checks all but the lengths of
/// sub-arrays. It accepts what PostgreSQL 15 and 18 both do: 17 added `{{}}`, which is an
/// empty array, and refuses some of what was misread before.
#[derive(Debug, Clone)]
pub(super) struct Events<'a> {
    text: &'a str,
    position: usize,
    depth: usize,
    /// The depth at which elements stand, once one was read.
    element_depth: Option<usize>,
    state: State,
    /// The bounds before the braces, lower and upper.
    pub(super) bounds: [(i32, i32); MAX_DIMENSIONS],
    /// How many of the bounds there are.
    pub(super) bounded: usize,
}

impl<'a> Events<'a> {
    /// Reads up to the outermost brace.
    pub(super) fn new(text: &'a str) -> Result<Self, ArrayError> {
        let mut events = Self {
            text,
            position: 0,
            depth: 0,
            element_depth: None,
            state: State::Start,
            bounds: [(1, 1); MAX_DIMENSIONS],
            bounded: 0,
        };
        events.read_bounds()?;
        Ok(events)
    }

    /// Where the last event ends.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    pub(super) fn next(&mut self) -> Result<Event<'a>, ArrayError> {
        self.skip_blanks();
        if self.state == State::Completed && self.eat(b',') {
            self.state = State::Delimited;
            self.skip_blanks();
        }
        match (self.state, self.peek()) {
            (State::Closed, None) => Ok(Event::End),
            (State::Closed, Some(_)) => Err(self.expected("the end of the array")),
            (State::Start | State::Opened | State::Delimited, Some(b'{')) => self.open(),
            (State::Start, _) => Err(self.expected("`{`")),
            (State::Completed, Some(b'}')) => Ok(self.close()),
            (State::Opened, Some(b'}')) if self.depth == 1 => Ok(self.close()),
            (State::Completed, _) => Err(self.expected("`,` or `}`")),
            (State::Opened | State::Delimited, Some(b'}' | b',') | None) => {
                Err(self.expected("an element"))
            }
            (State::Opened | State::Delimited, Some(byte)) => {
                if *self.element_depth.get_or_insert(self.depth) != self.depth {
                    return Err(ArrayError::Ragged {
                        offset: self.position,
                    });
                }
                self.state = State::Completed;
                match byte {
                    b'"' => self.quoted_element(),
                    _ => self.unquoted_element(),
                }
                .map(Event::Element)
            }
        }
    }

    fn open(&mut self) -> Result<Event<'a>, ArrayError> {
        let offset = self.position;
        if self.depth == MAX_DIMENSIONS {
            return Err(ArrayError::Dimensions { offset });
        }
        if self.element_depth.is_some_and(|depth| depth <= self.depth) {
            return Err(ArrayError::Ragged { offset });
        }
        self.position += 1;
        self.depth += 1;
        self.state = State::Opened;
        Ok(Event::Open)
    }

    fn close(&mut self) -> Event<'a> {
        self.position += 1;
        self.depth -= 1;
        self.state = match self.depth {
            0 => State::Closed,
            _ => State::Completed,
        };
        Event::Close
    }

    fn quoted_element(&mut self) -> Result<Element<'a>, ArrayError> {
        self.position += 1;
        let start = self.position;
        let mut escaped = false;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    let raw = self.text.get(start..self.position).unwrap_or_default();
                    self.position += 1;
                    return Ok(Element {
                        raw,
                        quoted: true,
                        escaped,
                    });
                }
                b'\\' => {
                    escaped = true;
                    self.position += 2;
                }
                _ => self.position += 1,
            }
        }
        Err(self.expected("`\"`"))
    }

    fn unquoted_element(&mut self) -> Result<Element<'a>, ArrayError> {
        let start = self.position;
        // Blanks at the end do not count, escaped ones do.
        let mut end = start;
        let mut escaped = false;
        while let Some(byte) = self.peek() {
            match byte {
                b',' | b'}' => {
                    return Ok(Element {
                        raw: self.text.get(start..end).unwrap_or_default(),
                        quoted: false,
                        escaped,
                    });
                }
                b'{' | b'"' => return Err(self.expected("`,` or `}`")),
                b'\\' => {
                    escaped = true;
                    self.position += 2;
                    end = self.position;
                }
                byte => {
                    self.position += 1;
                    if !is_blank(byte) {
                        end = self.position;
                    }
                }
            }
        }
        Err(self.expected("`,` or `}`"))
    }

    /// Reads `[lower:upper]…=` where it is.
    fn read_bounds(&mut self) -> Result<(), ArrayError> {
        loop {
            self.skip_blanks();
            let offset = self.position;
            if !self.eat(b'[') {
                break;
            }
            let mut lower = 1;
            let mut upper = self.read_bound()?;
            if self.eat(b':') {
                lower = upper;
                upper = self.read_bound()?;
            }
            if !self.eat(b']') {
                return Err(self.expected("`]`"));
            }
            if upper < lower || upper == i32::MAX {
                return Err(ArrayError::Bound { offset });
            }
            match self.bounds.get_mut(self.bounded) {
                Some(bounds) => *bounds = (lower, upper),
                None => return Err(ArrayError::Dimensions { offset }),
            }
            self.bounded += 1;
        }
        if self.bounded > 0 && !self.eat(b'=') {
            return Err(self.expected("`=`"));
        }
        Ok(())
    }

    fn read_bound(&mut self) -> Result<i32, ArrayError> {
        let offset = self.position;
        if let Some(b'-' | b'+') = self.peek() {
            self.position += 1;
        }
        while let Some(b'0'..=b'9') = self.peek() {
            self.position += 1;
        }
        let digits = self.text.get(offset..self.position).unwrap_or_default();
        digits.parse().map_err(|_| ArrayError::Bound { offset })
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let met = self.peek() == Some(byte);
        self.position += usize::from(met);
        met
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(is_blank) {
            self.position += 1;
        }
    }

    fn expected(&self, expected: &'static str) -> ArrayError {
        ArrayError::Syntax {
            offset: self.position,
            expected,
            met: self
                .text
                .get(self.position..)
                .and_then(|rest| rest.chars().next()),
        }
    }
}
