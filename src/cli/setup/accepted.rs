//! What `walhook setup --accept-gap` says of the gap: what is not delivered, and how
//! to send it by hand.

use std::fmt;

use jiff::Timestamp;

use crate::lsn::Lsn;
use crate::mapping::TableName;
use crate::mapping::file::RuleConfig;

#[derive(Clone, Debug)]
pub struct AcceptedGap {
    pub from: Lsn,
    pub to: Lsn,
    pub reason: String,
    /// When the last event before the gap was committed; `None`: there is none.
    pub newest_event: Option<Timestamp>,
    /// `from` and `to` are positions of different logs.
    pub other_log: bool,
    pub rules: Vec<RuleConfig>,
}

impl fmt::Display for AcceptedGap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "The gap, from {} to {}: {}.",
            self.from, self.to, self.reason
        )?;
        match self.newest_event {
            Some(at) => write!(
                f,
                "NOT delivered is what was committed in it: after {at:.0}, when the last event was committed, and before now. "
            )?,
            None => write!(
                f,
                "NOT delivered is what was committed in it: everything before now, as there is no event yet. "
            )?,
        }
        writeln!(f, "That may concern:")?;
        for rule in &self.rules {
            let (kind, table) = (&rule.event_type, &rule.table);
            writeln!(f, "  {kind}: {} of {table}", rule.on.join(", "))?;
        }
        if self.other_log {
            writeln!(
                f,
                "The source's log is another one: `sequence` of events to come may sort before that of events sent. \
                 Tell receivers that skip what is older."
            )?;
        }
        let first = self.rules.first();
        if let Some((rule, table)) =
            first.and_then(|rule| Some((rule, TableName::parse(&rule.table)?)))
        {
            by_hand(f, &rule.event_type, &table)?;
        }
        writeln!(
            f,
            "The gap is on record in the store (table `gaps`); `walhook status` shows it."
        )
    }
}

/// Until there is a backfill: rows that are inserted into a table that a rule of the
/// same type watches become events.
fn by_hand(f: &mut fmt::Formatter<'_>, kind: &str, table: &TableName) -> fmt::Result {
    let copy = TableName {
        schema: table.schema.clone(),
        name: format!("{}_gap", table.name),
    };
    let (table, sql, copy_sql) = (table, table.to_sql(), copy.to_sql());
    writeln!(
        f,
        "\
To send inserts and updates by hand, copy the rows concerned into a table of their own; for {table}:
  1. create table {copy_sql} (like {sql} including indexes);
  2. copy the rule of {kind}, with table = '{copy}', on = [\"insert\"] and, if it has one, another name;
     then `walhook setup`, and `walhook run`
  3. insert into {copy_sql} select * from {sql} where …;    -- those that were written in that time
Such events have ids of their own and show the rows as they are now. What was deleted is only in your backups."
    )
}
