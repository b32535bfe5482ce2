//! Why a time value cannot be read or computed.

use std::fmt;

use super::extract::TimeType;

/// Each one but [`InfiniteInterval`](TimeError::InfiniteInterval) is an error of the
/// server too, or a form that the language does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimeError {
    /// The text of a column is not what the server prints with the pinned settings.
    NotOutput(TimeType),
    /// A literal or a text to be cast; the whole sentence, with the text.
    Literal(String),
    /// PostgreSQL 17 and later have them; 15 and 16 have not.
    InfiniteInterval,
    DateRange,
    /// A date after 294276 AD that has to become a timestamp.
    DateBeyondTimestamp,
    TimestampRange,
    IntervalRange,
    InfiniteDates,
    /// An error in 15 and 16, an infinite interval from 17 on.
    InfiniteTimestamps,
    /// `date_trunc` or `extract` with a field that the type does not have.
    Field {
        field: &'static str,
        of: TimeType,
    },
}

impl fmt::Display for TimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TimeError::NotOutput(of) => {
                write!(f, "the text is no {of} in the format of datestyle ISO, ")?;
                f.write_str("intervalstyle postgres and TimeZone UTC")
            }
            TimeError::Literal(message) => f.write_str(message),
            TimeError::InfiniteInterval => f.write_str("infinite intervals are not supported"),
            TimeError::DateRange => f.write_str("date out of range"),
            TimeError::DateBeyondTimestamp => f.write_str("date out of range for timestamp"),
            TimeError::TimestampRange => f.write_str("timestamp out of range"),
            TimeError::IntervalRange => f.write_str("interval out of range"),
            TimeError::InfiniteDates => f.write_str("cannot subtract infinite dates"),
            TimeError::InfiniteTimestamps => f.write_str("cannot subtract infinite timestamps"),
            TimeError::Field { field, of } => write!(f, "field `{field}` does not exist for {of}"),
        }
    }
}

impl std::error::Error for TimeError {}
