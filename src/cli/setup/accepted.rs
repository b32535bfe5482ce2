//! What `walhook setup --accept-gap` says of gaps: what is not delivered, and how to
//! send it afterwards.

use std::fmt;

use jiff::Timestamp;

use super::SetupReport;
use crate::cli::gaps::Open;
use crate::lsn::Lsn;
use crate::mapping::TableName;
use crate::mapping::file::RuleConfig;

/// A gap at which capture stood.
#[derive(Clone, Debug)]
pub struct AcceptedGap {
    pub from: Lsn,
    pub to: Lsn,
    pub reason: String,
    /// When the last event before the gap was committed; `None`: there is none.
    pub newest_event: Option<Timestamp>,
    /// `from` and `to` are positions of different logs.
    pub other_log: bool,
}

pub(super) fn write(f: &mut fmt::Formatter<'_>, report: &SetupReport) -> fmt::Result {
    for (gap, since) in &report.accepted {
        writeln!(f, "\n{}", Spanned(gap))?;
        writeln!(f, "NOT delivered is what was committed in it.")?;
        let of_gap = |rule: &&RuleConfig| match &gap.table {
            None => true,
            Some(table) => TableName::parse(&rule.table).is_some_and(|of| of.to_string() == *table),
        };
        concerned(f, report.rules.iter().filter(of_gap), *since)?;
    }
    if let Some(gap) = &report.gap {
        concerned(f, report.rules.iter(), gap.newest_event)?;
        if gap.other_log {
            writeln!(
                f,
                "The source's log is another one: `sequence` of events to come may sort before that of events sent. \
                 Tell receivers that skip what is older."
            )?;
        }
        let first = report.rules.first();
        if let Some((rule, table)) =
            first.and_then(|rule| Some((rule, TableName::parse(&rule.table)?)))
        {
            by_hand(f, &rule.event_type, &table)?;
        }
    }
    if report.gap.is_some() || !report.accepted.is_empty() {
        writeln!(
            f,
            "What was accepted is on record in the store (table `gaps`); `walhook status` shows it."
        )?;
    }
    for gap in &report.open {
        writeln!(f, "\nOPEN  {}", Spanned(gap))?;
    }
    if !report.open.is_empty() {
        writeln!(
            f,
            "Capture goes on. `walhook setup --accept-gap` says what to backfill, and closes what is open."
        )?;
    }
    Ok(())
}

/// `The gap, from A to B: why.`
struct Spanned<'a>(&'a Open);

impl fmt::Display for Spanned<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Open {
            from, to, reason, ..
        } = self.0;
        match to {
            Some(to) => write!(f, "The gap, from {from} to {to}: {reason}."),
            None => write!(f, "The gap, from {from} on: {reason}."),
        }
    }
}

impl fmt::Display for AcceptedGap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "The gap, from {} to {}: {}.",
            self.from, self.to, self.reason
        )?;
        match self.newest_event {
            Some(at) => writeln!(
                f,
                "NOT delivered is what was committed in it: after {at:.0}, when the last event was committed, and before now."
            ),
            None => writeln!(
                f,
                "NOT delivered is what was committed in it: everything before now, as there is no event yet."
            ),
        }
    }
}

/// The rules concerned, and how the rows that exist are sent afterwards.
fn concerned<'a>(
    f: &mut fmt::Formatter<'_>,
    rules: impl Iterator<Item = &'a RuleConfig>,
    since: Option<Timestamp>,
) -> fmt::Result {
    writeln!(f, "That may concern:")?;
    let mut tables: Vec<&str> = Vec::new();
    for rule in rules {
        let (kind, table) = (&rule.event_type, &rule.table);
        writeln!(f, "  {kind}: {} of {table}", rule.on.join(", "))?;
        if !tables.contains(&table.as_str()) {
            tables.push(table);
        }
    }
    writeln!(
        f,
        "To send the rows that were written in that time, as they are now:"
    )?;
    for table in tables {
        write!(f, "  walhook backfill --table '{table}'")?;
        if let Some(since) = since {
            write!(f, " --since '{since:.0}'")?;
        }
        writeln!(f)?;
    }
    writeln!(
        f,
        "--since-column names the column that says when a row was written. What was deleted is only in your backups."
    )
}

/// Rows that are inserted into a table that a rule of the same type watches become events.
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
