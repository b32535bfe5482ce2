//! What may be wrong, and what of it takes a node out of service.

use serde::Serialize;

/// Something that is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub kind: ProblemKind,
    /// Whether the node is taken out of service for it.
    pub affects_readiness: bool,
    pub text: String,
}

/// What may be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    StoreUnreachable,
    SourceUnreachable,
    /// A connection to the store or the source gives no answers.
    ConnectionSilent,
    /// A connection that reads whole tables, of a seed or a backfill, gives no answers.
    TableReadSilent,
    /// The slot, the publication and its tables were not looked at for long.
    WatchBlind,
    CaptureStarting,
    CaptureFailing,
    Gap,
    /// The store, the slot or the publication is not as `walhook setup` makes it.
    NotSetUp,
    /// No process reads the slot.
    SlotUnread,
    /// The slot retains nearly as much WAL as it may.
    WalBudget,
    /// A published table makes the application's own writes fail.
    HarmedTable,
    /// A standby could not go on with the slot if it were promoted.
    StandbyCopy,
    /// Rules were not compared with the tables yet.
    RulesNotRead,
    /// Rules wait for old values.
    Seeding,
    /// Instances run different rules.
    RulesDiffer,
    /// No instance delivers.
    NothingDelivers,
    /// Deliveries have been due for long.
    Overdue,
    /// Changes matched a rule and were not sent.
    ParkedChanges,
    /// Endpoints do nothing but fail.
    FailingEndpoints,
    /// Deliveries failed for good.
    DeadLetters,
    /// Filters of subscriptions cannot be evaluated.
    FailingFilters,
    /// Tenants of events are spelt otherwise than those of subscriptions.
    TenantMismatch,
    /// Clocks of nodes and databases differ.
    ClockSkew,
    /// The store is a copy, or lacks what was committed to it.
    StoreRefused,
    /// Subscriptions cannot be decrypted or read.
    UnreadableSubscriptions,
}

impl ProblemKind {
    pub const ALL: [ProblemKind; 26] = [
        ProblemKind::StoreUnreachable,
        ProblemKind::SourceUnreachable,
        ProblemKind::ConnectionSilent,
        ProblemKind::TableReadSilent,
        ProblemKind::WatchBlind,
        ProblemKind::CaptureStarting,
        ProblemKind::CaptureFailing,
        ProblemKind::Gap,
        ProblemKind::NotSetUp,
        ProblemKind::SlotUnread,
        ProblemKind::WalBudget,
        ProblemKind::HarmedTable,
        ProblemKind::StandbyCopy,
        ProblemKind::RulesNotRead,
        ProblemKind::Seeding,
        ProblemKind::RulesDiffer,
        ProblemKind::NothingDelivers,
        ProblemKind::Overdue,
        ProblemKind::ParkedChanges,
        ProblemKind::FailingEndpoints,
        ProblemKind::DeadLetters,
        ProblemKind::FailingFilters,
        ProblemKind::TenantMismatch,
        ProblemKind::ClockSkew,
        ProblemKind::StoreRefused,
        ProblemKind::UnreadableSubscriptions,
    ];

    /// As metrics and JSON name it.
    pub fn as_str(self) -> &'static str {
        match self {
            ProblemKind::StoreUnreachable => "store_unreachable",
            ProblemKind::SourceUnreachable => "source_unreachable",
            ProblemKind::ConnectionSilent => "connection_silent",
            ProblemKind::TableReadSilent => "table_read_silent",
            ProblemKind::WatchBlind => "watch_blind",
            ProblemKind::CaptureStarting => "capture_starting",
            ProblemKind::CaptureFailing => "capture_failing",
            ProblemKind::Gap => "gap",
            ProblemKind::NotSetUp => "not_set_up",
            ProblemKind::SlotUnread => "slot_unread",
            ProblemKind::WalBudget => "wal_budget",
            ProblemKind::HarmedTable => "harmed_table",
            ProblemKind::StandbyCopy => "standby_copy",
            ProblemKind::RulesNotRead => "rules_not_read",
            ProblemKind::Seeding => "seeding",
            ProblemKind::RulesDiffer => "rules_differ",
            ProblemKind::NothingDelivers => "nothing_delivers",
            ProblemKind::Overdue => "overdue",
            ProblemKind::ParkedChanges => "parked_changes",
            ProblemKind::FailingEndpoints => "failing_endpoints",
            ProblemKind::DeadLetters => "dead_letters",
            ProblemKind::FailingFilters => "failing_filters",
            ProblemKind::TenantMismatch => "tenant_mismatch",
            ProblemKind::ClockSkew => "clock_skew",
            ProblemKind::StoreRefused => "store_refused",
            ProblemKind::UnreadableSubscriptions => "unreadable_subscriptions",
        }
    }

    /// Whether a node with it is taken out of service: only for what keeps the node from its
    /// work, and never for what one tenant, endpoint or row can cause.
    pub fn affects_readiness(self) -> bool {
        match self {
            ProblemKind::StoreUnreachable
            | ProblemKind::SourceUnreachable
            | ProblemKind::ConnectionSilent
            | ProblemKind::WatchBlind
            | ProblemKind::CaptureStarting
            | ProblemKind::CaptureFailing
            | ProblemKind::Gap
            | ProblemKind::NotSetUp
            | ProblemKind::StoreRefused
            | ProblemKind::RulesNotRead => true,
            ProblemKind::TableReadSilent
            | ProblemKind::SlotUnread
            | ProblemKind::WalBudget
            | ProblemKind::HarmedTable
            | ProblemKind::StandbyCopy
            | ProblemKind::Seeding
            | ProblemKind::RulesDiffer
            | ProblemKind::NothingDelivers
            | ProblemKind::Overdue
            | ProblemKind::ParkedChanges
            | ProblemKind::FailingEndpoints
            | ProblemKind::DeadLetters
            | ProblemKind::FailingFilters
            | ProblemKind::TenantMismatch
            | ProblemKind::UnreadableSubscriptions
            | ProblemKind::ClockSkew => false,
        }
    }

    pub fn because(self, text: impl Into<String>) -> Problem {
        Problem {
            kind: self,
            affects_readiness: self.affects_readiness(),
            text: text.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_named_as_json_names_it() {
        for kind in ProblemKind::ALL {
            let json = serde_json::to_string(&kind).unwrap();
            assert_eq!(json, format!("\"{}\"", kind.as_str()));
        }
    }
}
