//! What is wrong with an expression, and where.

use std::ops::Range;

/// A place in the source, in bytes.
pub type Span = Range<usize>;

/// Why an expression is refused: before any row is looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    pub at: Span,
    /// What was met, what was expected, and the right spelling where it is known.
    pub message: String,
}

impl SyntaxError {
    pub fn new(at: Span, message: impl Into<String>) -> Self {
        SyntaxError {
            at,
            message: message.into(),
        }
    }

    /// Line and column of the place, both from 1; columns in characters.
    pub fn line_and_column(&self, source: &str) -> (usize, usize) {
        let end = source.floor_char_boundary(self.at.start);
        let before = source.get(..end).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default();
        (line, column.chars().count() + 1)
    }
}

pub type Result<T, E = SyntaxError> = std::result::Result<T, E>;
