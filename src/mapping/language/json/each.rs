//! Members of an object and elements of an array, one after the other, as they are written.

use std::borrow::Cow;

use super::JsonError;
use super::scan::{Next, Scanner, unescape};

/// The values between an object's braces or an array's brackets.
#[derive(Debug, Clone)]
struct Each<'a> {
    scanner: Scanner<'a>,
    next: Next,
    ended: bool,
}

impl<'a> Each<'a> {
    /// None where the text does not begin so.
    fn open(text: &'a str, bracket: u8) -> Option<Self> {
        let mut scanner = Scanner::new(text);
        scanner.eat(bracket).then_some(Each {
            scanner,
            next: Next::First,
            ended: false,
        })
    }

    fn value(&mut self) -> Result<&'a str, JsonError> {
        let start = self.scanner.position();
        self.scanner.skip_value()?;
        Ok(self.scanner.since(start))
    }

    fn element(&mut self) -> Result<Option<&'a str>, JsonError> {
        match self.scanner.next_element(&mut self.next)? {
            true => self.value().map(Some),
            false => Ok(None),
        }
    }

    fn member(&mut self) -> Result<Option<(&'a str, &'a str)>, JsonError> {
        match self.scanner.next_member(&mut self.next)? {
            Some(name) => Ok(Some((name, self.value()?))),
            None => Ok(None),
        }
    }

    /// Ends the iteration after its end and after an error.
    fn checked<T>(&mut self, read: Result<Option<T>, JsonError>) -> Option<Result<T, JsonError>> {
        self.ended = !matches!(read, Ok(Some(_)));
        read.transpose()
    }
}

/// An array's elements; `None` where the text is no array.
pub fn elements(text: &str) -> Option<impl Iterator<Item = Result<&str, JsonError>>> {
    let mut each = Each::open(text, b'[')?;
    Some(std::iter::from_fn(move || {
        if each.ended {
            return None;
        }
        let read = each.element();
        each.checked(read)
    }))
}

/// An object's members in their order, names unescaped; `None` where the text is no object.
/// A member whose name no text can hold (`\u0000`) has no name, and is passed over.
pub fn members(
    text: &str,
) -> Option<impl Iterator<Item = Result<(Cow<'_, str>, &str), JsonError>>> {
    let mut each = Each::open(text, b'{')?;
    Some(std::iter::from_fn(move || {
        while !each.ended {
            let read = each.member();
            match each.checked(read)? {
                Err(error) => return Some(Err(error)),
                Ok((name, value)) => {
                    if let Ok(name) = unescape(name, 0) {
                        return Some(Ok((name, value)));
                    }
                }
            }
        }
        None
    }))
}
