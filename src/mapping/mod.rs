//! Maps committed changes to business events by the rules of the configuration.
//! Pure: no I/O, the same change always gives the same events.

use std::sync::Arc;

use crate::event::Event;
use crate::lsn::Lsn;

mod check;
mod database;
pub mod example;
pub mod file;
pub mod filter;
pub mod language;
mod mapper;
mod names;
mod outline;
pub mod payload;
mod programs;
mod row;
mod rules;
mod table_name;
#[cfg(test)]
mod tests;
mod trace;
mod understood;
pub mod watch;

pub use check::{ColumnDescription, TableDescription};
pub use database::Database;
pub use filter::{Filter, FilterError};
pub use language::evaluate::UnknownLabel;
pub use mapper::explain::{Explained, Explanation, Verdict};
pub use mapper::{ExistingRow, Mapper};
pub use outline::Outline;
pub use rules::RuleSet;
pub use table_name::TableName;
pub use trace::Trace;
pub use understood::Understood;

/// What one rule made of one change.
#[derive(Clone, Debug, PartialEq)]
pub enum Mapped {
    Event(Event),
    /// The rule matched, but the row cannot be sent: kept aside, never sent to anybody.
    Parked(ParkedChange),
}

/// A change set aside for an operator, with its position in the WAL.
#[derive(Clone, Debug, PartialEq)]
pub struct ParkedChange {
    pub commit_lsn: Lsn,
    pub ordinal: u64,
    /// Empty where the change could not be decoded far enough to meet a rule.
    pub rule: Arc<str>,
    /// `schema.table`, or empty where it is unknown.
    pub relation: Arc<str>,
    /// As events carry it; none where it is not known.
    pub row_key: Option<String>,
    /// How large the row is, where that is the reason.
    pub row_bytes: Option<u64>,
    /// All that the WAL had of it, to be mapped again ([`crate::pgoutput::kept`]).
    pub change: Option<Vec<u8>>,
    pub reason: ParkedReason,
    /// What was wrong, without the row's values.
    pub detail: String,
    /// Where that is a label that the rules do not know ([`RuleSet::note_unknown_label`]).
    pub unknown_label: Option<UnknownLabel>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParkedReason {
    /// The row's tenant is null, empty or not in the WAL.
    Unroutable,
    /// The expression or the payload could not be evaluated on this row.
    Unmappable,
    /// The bytes of the message could not be decoded.
    Undecodable,
    /// The rule needs a value of a row that was too large to be held.
    Oversized,
}

impl ParkedReason {
    pub fn as_str(self) -> &'static str {
        match self {
            ParkedReason::Unroutable => "unroutable",
            ParkedReason::Unmappable => "unmappable",
            ParkedReason::Undecodable => "undecodable",
            ParkedReason::Oversized => "oversized",
        }
    }
}
