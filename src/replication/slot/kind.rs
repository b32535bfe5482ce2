//! What kinds of gap there are.

use crate::health::STALE_OLD_VALUES;

/// What happened, as metrics and the record of gaps name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapKind {
    SlotDropped,
    SlotLost,
    /// Moved ahead, or made again, by somebody else.
    SlotMoved,
    /// Another's slot stands under our slot's name.
    SlotForeign,
    SystemChanged,
    TimelineBranched,
    LogBehind,
    PublicationDropped,
    PublicationRecreated,
    /// Taken out of the publication.
    TableUnpublished,
    TableRecreated,
    /// The server fails at a transaction each time.
    Unreadable,
    /// Given up by us, for want of room for the log.
    Shed,
    /// Mapped with old values that may have been stale.
    OldValuesStale,
}

impl GapKind {
    pub const ALL: [GapKind; 14] = [
        GapKind::SlotDropped,
        GapKind::SlotLost,
        GapKind::SlotMoved,
        GapKind::SlotForeign,
        GapKind::SystemChanged,
        GapKind::TimelineBranched,
        GapKind::LogBehind,
        GapKind::PublicationDropped,
        GapKind::PublicationRecreated,
        GapKind::TableUnpublished,
        GapKind::TableRecreated,
        GapKind::Unreadable,
        GapKind::Shed,
        GapKind::OldValuesStale,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            GapKind::SlotDropped => "slot_dropped",
            GapKind::SlotLost => "slot_lost",
            GapKind::SlotMoved => "slot_moved",
            GapKind::SlotForeign => "slot_foreign",
            GapKind::SystemChanged => "system_changed",
            GapKind::TimelineBranched => "timeline_branched",
            GapKind::LogBehind => "log_behind",
            GapKind::PublicationDropped => "publication_dropped",
            GapKind::PublicationRecreated => "publication_recreated",
            GapKind::TableUnpublished => "table_unpublished",
            GapKind::TableRecreated => "table_recreated",
            GapKind::Unreadable => "unreadable",
            GapKind::Shed => "shed",
            GapKind::OldValuesStale => STALE_OLD_VALUES,
        }
    }
}
