use std::fmt;

/// Why a text is no JSON value, or why the server's function would fail on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JsonError {
    /// `met` is none at the end of the text.
    Syntax {
        offset: usize,
        expected: &'static str,
        met: Option<char>,
    },
    /// A control character in a string, which must be escaped.
    Control { offset: usize, byte: u8 },
    /// An escape that JSON does not know, or that cannot be a text of the server.
    Escape { offset: usize, reason: &'static str },
    /// A number beyond the limits of numeric.
    Overflow { offset: usize },
    /// Nesting beyond [`MAX_DEPTH`](super::MAX_DEPTH).
    Depth { offset: usize },
    /// jsonb_array_length of a number, string, boolean or null.
    LengthOfScalar,
    /// jsonb_array_length of an object.
    LengthOfObject,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax {
                offset,
                expected,
                met: Some(met),
            } => write!(
                f,
                "invalid JSON at byte {offset}: expected {expected}, met {met:?}"
            ),
            Self::Syntax {
                offset,
                expected,
                met: None,
            } => write!(
                f,
                "invalid JSON at byte {offset}: expected {expected}, met the end"
            ),
            Self::Control { offset, byte } => write!(
                f,
                "invalid JSON at byte {offset}: character with value {byte:#04x} must be escaped"
            ),
            Self::Escape { offset, reason } => {
                write!(f, "invalid JSON escape at byte {offset}: {reason}")
            }
            Self::Overflow { offset } => write!(
                f,
                "invalid JSON number at byte {offset}: value overflows numeric format"
            ),
            Self::Depth { offset } => write!(
                f,
                "JSON at byte {offset} nests deeper than {} levels",
                super::MAX_DEPTH
            ),
            Self::LengthOfScalar => f.write_str("cannot get array length of a scalar"),
            Self::LengthOfObject => f.write_str("cannot get array length of a non-array"),
        }
    }
}

impl std::error::Error for JsonError {}
