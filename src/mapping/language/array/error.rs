use std::fmt;

/// Why a text is no array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArrayError {
    /// `met` is none at the end of the text.
    Syntax {
        offset: usize,
        expected: &'static str,
        met: Option<char>,
    },
    /// An element and a sub-array side by side, or sub-arrays of different lengths.
    Ragged { offset: usize },
    /// Bounds before the braces that do not match what the braces hold.
    BoundsMismatch,
    /// A bound that is no integer of the server, or an upper one below its lower one.
    Bound { offset: usize },
    /// More than [`MAX_DIMENSIONS`](super::MAX_DIMENSIONS).
    Dimensions { offset: usize },
    /// More than [`MAX_ELEMENTS`](super::MAX_ELEMENTS).
    Size,
}

impl fmt::Display for ArrayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax {
                offset,
                expected,
                met: Some(met),
            } => write!(
                f,
                "malformed array at byte {offset}: expected {expected}, met {met:?}"
            ),
            Self::Syntax {
                offset,
                expected,
                met: None,
            } => write!(
                f,
                "malformed array at byte {offset}: expected {expected}, met the end"
            ),
            Self::Ragged { offset } => write!(
                f,
                "malformed array at byte {offset}: sub-arrays must have matching dimensions"
            ),
            Self::BoundsMismatch => {
                f.write_str("malformed array: its bounds do not match its contents")
            }
            Self::Bound { offset } => write!(
                f,
                "malformed array at byte {offset}: the bounds are out of range"
            ),
            Self::Dimensions { offset } => write!(
                f,
                "malformed array at byte {offset}: more than {} dimensions",
                super::MAX_DIMENSIONS
            ),
            Self::Size => write!(f, "array of more than {} elements", super::MAX_ELEMENTS),
        }
    }
}

impl std::error::Error for ArrayError {}
