//! Upper and lower case, as the database maps characters one by one.

use std::borrow::Cow;
use std::collections::HashMap;

/// Which character stands for which. ASCII is mapped alike everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letters {
    /// Whether the other case of what is not listed is not known, but for ASCII.
    unlisted: bool,
    lower: HashMap<char, Mapped>,
    upper: HashMap<char, Mapped>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mapped {
    To(char),
    /// To several characters, or to one that depends on its neighbours.
    Unclear,
}

/// A character whose other case is not one character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnclearCase(pub char);

impl Letters {
    /// From what the server says: a character, its lower and its upper case.
    pub fn of<'a>(rows: impl IntoIterator<Item = (char, &'a str, &'a str)>) -> Self {
        let mut letters = Letters::default();
        for (character, lower, upper) in rows {
            for (map, to) in [(&mut letters.lower, lower), (&mut letters.upper, upper)] {
                let mut characters = to.chars();
                match (characters.next(), characters.next()) {
                    (Some(to), None) if to == character => {}
                    (Some(to), None) => {
                        map.insert(character, Mapped::To(to));
                    }
                    _ => {
                        map.insert(character, Mapped::Unclear);
                    }
                }
            }
        }
        letters
    }

    /// What depends on its neighbours: ICU writes a final Σ in another way.
    pub fn unclear(&mut self, character: char) {
        self.lower.insert(character, Mapped::Unclear);
    }

    /// Of a database that cannot be asked for each character: ASCII only.
    pub fn ascii() -> Self {
        Letters {
            unlisted: true,
            ..Letters::default()
        }
    }

    /// Unicode's simple mapping: one character to one.
    pub fn unicode() -> Self {
        let mut letters = Letters::default();
        // Beyond these planes nothing has a case.
        for character in '\u{80}'..='\u{1ffff}' {
            let mut lower = character.to_lowercase();
            if let (Some(to), None) = (lower.next(), lower.next())
                && to != character
            {
                letters.lower.insert(character, Mapped::To(to));
            }
            let mut upper = character.to_uppercase();
            if let (Some(to), None) = (upper.next(), upper.next())
                && to != character
            {
                letters.upper.insert(character, Mapped::To(to));
            }
        }
        // The one of which std knows the mapping to several characters only.
        letters.lower.insert('\u{130}', Mapped::To('i'));
        letters
    }

    pub fn lower<'a>(&self, text: Cow<'a, str>) -> Result<Cow<'a, str>, UnclearCase> {
        let is_lower = |c: char| match c.is_ascii() {
            true => !c.is_ascii_uppercase(),
            false => !self.unlisted && !self.lower.contains_key(&c),
        };
        if text.chars().all(is_lower) {
            return Ok(text);
        }
        text.chars()
            .map(|c| self.lower_of(c))
            .collect::<Result<String, _>>()
            .map(Cow::Owned)
    }

    pub fn upper<'a>(&self, text: Cow<'a, str>) -> Result<Cow<'a, str>, UnclearCase> {
        let is_upper = |c: char| match c.is_ascii() {
            true => !c.is_ascii_lowercase(),
            false => !self.unlisted && !self.upper.contains_key(&c),
        };
        if text.chars().all(is_upper) {
            return Ok(text);
        }
        let upper = |c: char| match c.is_ascii() {
            true => Ok(c.to_ascii_uppercase()),
            false => self.mapped(&self.upper, c),
        };
        text.chars()
            .map(upper)
            .collect::<Result<String, _>>()
            .map(Cow::Owned)
    }

    pub fn lower_of(&self, c: char) -> Result<char, UnclearCase> {
        match c.is_ascii() {
            true => Ok(c.to_ascii_lowercase()),
            false => self.mapped(&self.lower, c),
        }
    }

    fn mapped(&self, map: &HashMap<char, Mapped>, c: char) -> Result<char, UnclearCase> {
        match map.get(&c) {
            None if self.unlisted => Err(UnclearCase(c)),
            None => Ok(c),
            Some(Mapped::To(to)) => Ok(*to),
            Some(Mapped::Unclear) => Err(UnclearCase(c)),
        }
    }
}
