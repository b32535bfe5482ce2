//! `like` and `ilike`: what stands between two `%` is looked for from left to right.

use std::sync::LazyLock;

use crate::mapping::language::letters::{Letters, UnclearCase};
use crate::mapping::language::program::{Case, Pattern, PatternPart};

use super::{Evaluation, Failure, Result, Row};

/// Characters that are compared in a step.
const CHARACTERS: usize = 64;

pub(super) fn of_letters(UnclearCase(c): UnclearCase) -> Failure {
    Failure::Failed(format!(
        "the other case of the character U+{:04X} is not one character",
        u32::from(c)
    ))
}

impl<R: Row> Evaluation<'_, R> {
    pub(super) fn letters_of(&self, case: Case) -> &Letters {
        static ASCII: LazyLock<Letters> = LazyLock::new(Letters::default);
        match case {
            Case::Database => self.letters,
            Case::Ascii => &ASCII,
        }
    }

    pub(super) fn like(&self, text: &str, pattern: &Pattern) -> Result<bool> {
        self.pass(
            text.len(),
            if pattern.ignore_case.is_some() {
                64
            } else {
                256
            },
        )?;
        let mut compared = 0usize;
        let mut parts = pattern.parts.split(|part| *part == PatternPart::Any);
        let count = pattern
            .parts
            .iter()
            .filter(|part| **part == PatternPart::Any)
            .count();
        let letters = pattern.ignore_case.map(|case| self.letters_of(case));
        if let Some(letters) = letters {
            // The server maps both before it compares them.
            let literals = pattern.parts.iter().filter_map(|part| match part {
                PatternPart::Literal(c) => Some(*c),
                _ => None,
            });
            for c in text.chars().chain(literals).filter(|c| !c.is_ascii()) {
                letters.lower_of(c).map_err(of_letters)?;
            }
        }
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = strip(text, first, letters, &mut compared)? else {
            return Ok(false);
        };
        if count == 0 {
            return Ok(rest.is_empty());
        }
        for _ in 1..count {
            let part = parts.next().unwrap_or_default();
            rest = loop {
                if let Some(rest) = strip(rest, part, letters, &mut compared)? {
                    break rest;
                }
                if compared > CHARACTERS {
                    self.step(u32::try_from(compared / CHARACTERS).unwrap_or(u32::MAX))?;
                    compared = 0;
                }
                let mut characters = rest.chars();
                if characters.next().is_none() {
                    return Ok(false);
                }
                rest = characters.as_str();
                if let (Some(PatternPart::Literal(first)), None) = (part.first(), letters) {
                    match rest.find(*first) {
                        Some(at) => rest = rest.get(at..).unwrap_or_default(),
                        None => return Ok(false),
                    }
                }
            };
        }
        // What stands last must end the text.
        let last = parts.next().unwrap_or_default();
        let end = match last.len() {
            0 => return Ok(true),
            length => rest.char_indices().rev().nth(length - 1),
        };
        match end {
            None => Ok(false),
            Some((at, _)) => {
                let tail = rest.get(at..).unwrap_or_default();
                Ok(strip(tail, last, letters, &mut compared)? == Some(""))
            }
        }
    }
}

/// What follows where the text begins so. Counts what it compared after the first character.
fn strip<'t>(
    text: &'t str,
    part: &[PatternPart],
    letters: Option<&Letters>,
    compared: &mut usize,
) -> Result<Option<&'t str>> {
    let mut characters = text.chars();
    for (at, expected) in part.iter().enumerate() {
        let Some(met) = characters.next() else {
            return Ok(None);
        };
        *compared += usize::from(at > 0);
        let fits = match (expected, letters) {
            (PatternPart::One, _) => true,
            (PatternPart::Any, _) => false,
            (PatternPart::Literal(c), None) => *c == met,
            (PatternPart::Literal(c), Some(letters)) => {
                letters.lower_of(*c).map_err(of_letters)?
                    == letters.lower_of(met).map_err(of_letters)?
            }
        };
        if !fits {
            return Ok(None);
        }
    }
    Ok(Some(characters.as_str()))
}
