//! `#>` and `#>>`.

use super::access::{Kind, Slice};
use super::scan::{Next, Scanner, check_escapes, string_equals};
use super::{JsonError, MAX_DEPTH};

impl<'a> Slice<'a> {
    /// `#>`: the value at the path, none where the server gives null. [`Slice::as_text`] of
    /// it is `#>>`. A step into an array is an integer, from the end when negative.
    pub fn path(self, path: &[Option<&str>]) -> Result<Option<Slice<'a>>, JsonError> {
        if path.iter().any(Option::is_none) {
            return Ok(None);
        }
        match self.kind {
            Kind::Jsonb => self.path_of_jsonb(path),
            Kind::Json => {
                check_escapes(self.text, |_| true)?;
                self.path_of_json(path)
            }
        }
    }

    fn path_of_jsonb(self, path: &[Option<&str>]) -> Result<Option<Slice<'a>>, JsonError> {
        let mut value = self;
        for step in path.iter().flatten() {
            let scanner = Scanner::new(value.text);
            let part = match scanner.peek() {
                Some(b'{') => value.member(step)?,
                Some(b'[') => match index(step) {
                    Some(index) => value.element(index)?,
                    None => None,
                },
                // Unlike `->`, a path takes a scalar for no array.
                Some(_) => None,
                None => return Err(scanner.expected("a JSON value")),
            };
            match part {
                Some(part) => value = part,
                None => return Ok(None),
            }
        }
        Ok(Some(value))
    }

    fn path_of_json(self, path: &[Option<&str>]) -> Result<Option<Slice<'a>>, JsonError> {
        if path.is_empty() {
            let trimmed = self.text.trim_end_matches(BLANKS);
            let start = trimmed.trim_start_matches(BLANKS);
            // The server leaves out the blanks before an array or object only.
            let text = match start.starts_with(['{', '[']) {
                true => start,
                false => trimmed,
            };
            return Ok(Some(self.part(text)));
        }
        let mut search = Search {
            steps: path
                .iter()
                .flatten()
                .map(|key| (*key, index(key)))
                .collect(),
            counted: 0,
            found: None,
        };
        search.counted = search
            .steps
            .iter()
            .rposition(|(_, index)| index.is_some_and(|index| index < 0))
            .map_or(0, |last| last + 1);
        search.value(&mut Scanner::new(self.text), 0, true)?;
        Ok(search.found.map(|text| self.part(text)))
    }
}

const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

/// The search for a path in a json, as the server does it in one reading: members of the
/// same name are all searched, the last match counts, and an index from the end becomes an
/// index from the start at the first array of its level that is long enough, even where
/// that array is beside the path.
struct Search<'a, 's> {
    steps: Vec<(&'s str, Option<i32>)>,
    /// The levels below this one have no index from the end.
    counted: usize,
    found: Option<&'a str>,
}

impl<'a> Search<'a, '_> {
    /// Reads the value at `level`, which is on the path if `on_path`.
    fn value(
        &mut self,
        scanner: &mut Scanner<'a>,
        level: usize,
        on_path: bool,
    ) -> Result<(), JsonError> {
        let Some(&(key, index)) = self.steps.get(level) else {
            let start = scanner.position();
            scanner.skip_value()?;
            if on_path {
                self.found = Some(scanner.since(start));
            }
            return Ok(());
        };
        if !on_path && level >= self.counted {
            return scanner.skip_value();
        }
        if level > MAX_DEPTH {
            return Err(JsonError::Depth {
                offset: scanner.position(),
            });
        }
        let mut next = Next::First;
        match scanner.peek() {
            Some(b'{') => {
                scanner.advance();
                while let Some(name) = scanner.next_member(&mut next)? {
                    let matches = on_path && string_equals(name, key)?;
                    self.value(scanner, level + 1, matches)?;
                }
                Ok(())
            }
            Some(b'[') => {
                scanner.advance();
                let wanted = match index {
                    Some(index) if index < 0 => self.count_from_start(scanner, level, index)?,
                    _ => index,
                };
                let mut position = 0_i32;
                while scanner.next_element(&mut next)? {
                    self.value(scanner, level + 1, on_path && wanted == Some(position))?;
                    position = position.saturating_add(1);
                }
                Ok(())
            }
            _ => scanner.skip_value(),
        }
    }

    fn count_from_start(
        &mut self,
        scanner: &Scanner<'a>,
        level: usize,
        index: i32,
    ) -> Result<Option<i32>, JsonError> {
        let count = i32::try_from(scanner.count_elements()?).unwrap_or(i32::MAX);
        if index.saturating_add(count) < 0 {
            return Ok(None);
        }
        let index = Some(index.saturating_add(count));
        if let Some(step) = self.steps.get_mut(level) {
            step.1 = index;
        }
        Ok(index)
    }
}

/// An integer as C's strtol reads it: blanks and a sign may come before. The least integer
/// matches no element.
fn index(step: &str) -> Option<i32> {
    let digits = step.trim_start_matches([' ', '\t', '\n', '\u{b}', '\u{c}', '\r']);
    // i32's parser takes one sign, as strtol does.
    digits.parse().ok().filter(|index| *index != i32::MIN)
}
