//! What `walhook setup --accept-gap` says of gaps: what is not delivered, and how to
//! send it afterwards.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::SetupReport;
use crate::health::STALE_OLD_VALUES;
use crate::lsn::Lsn;
use crate::mapping::TableName;
use crate::mapping::file::RuleConfig;
use crate::source::catalog::{Column, Table};
use crate::source::gaps::Open;
use crate::terminal::Lines;

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

pub(super) fn write(lines: &mut Lines, report: &SetupReport) {
    if let Some(gap) = &report.gap {
        gap.write(lines);
    }
    for (gap, since) in &report.accepted {
        lines.line("");
        lines.line(Spanned(gap));
        lines.line(match gap.kind.as_str() {
            STALE_OLD_VALUES => {
                "Delivered may be events of it that are false, and NOT delivered some that are due: compare them with the rows."
            }
            _ => "NOT delivered is what was committed in it.",
        });
        let of_gap = |rule: &&RuleConfig| match &gap.table {
            None => true,
            Some(table) => TableName::parse(&rule.table).is_some_and(|of| of.to_string() == *table),
        };
        let rules: Vec<&RuleConfig> = report.rules.iter().filter(of_gap).collect();
        concerned(lines, &rules, &report.tables, *since);
    }
    if let Some(gap) = &report.gap {
        let rules: Vec<&RuleConfig> = report.rules.iter().collect();
        concerned(lines, &rules, &report.tables, gap.newest_event);
        if gap.other_log {
            lines.line(
                "The source's log is another one: `sequence` of events to come may sort before that of events sent. \
                 Tell receivers that skip what is older.",
            );
        }
    }
    if report.gap.is_some() || !report.accepted.is_empty() {
        lines.line(
            "What was accepted is on record in the store (table `gaps`); `walhook status` shows it.",
        );
    }
    for gap in &report.open {
        lines.line("");
        lines.line(format_args!("OPEN  {}", Spanned(gap)));
    }
    if !report.open.is_empty() {
        lines.line(
            "Capture goes on. `walhook setup --accept-gap` says what to backfill, and closes what is open.",
        );
    }
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

impl AcceptedGap {
    fn write(&self, lines: &mut Lines) {
        lines.line("");
        lines.line(format_args!(
            "The gap, from {} to {}: {}.",
            self.from, self.to, self.reason
        ));
        match self.newest_event {
            Some(at) => lines.line(format_args!(
                "NOT delivered is what was committed in it: after {at:.0}, when the last event was committed, and before now."
            )),
            None => lines.line(
                "NOT delivered is what was committed in it: everything before now, as there is no event yet.",
            ),
        }
    }
}

/// The rules concerned, and how the rows that exist are sent afterwards.
fn concerned(lines: &mut Lines, rules: &[&RuleConfig], tables: &[Table], since: Option<Timestamp>) {
    lines.line("That may concern:");
    for rule in rules {
        let (kind, table) = (&rule.event_type, &rule.table);
        lines.line(format_args!("  {kind}: {} of {table}", rule.on.join(", ")));
    }
    let backfills = backfills(rules, tables, since);
    if backfills.is_empty() {
        return;
    }
    lines.line(
        "To send the rows that were written in that time, as they are now, once `walhook run` is up \
         (--dry-run counts them first):",
    );
    for backfill in &backfills {
        lines.line(format_args!("  {backfill}"));
    }
    lines.line("Such events have ids of their own. What was deleted is only in your backups.");
}

/// Before the last event there may be rows whose transaction began earlier and committed
/// later: a row's own time is often that of the beginning.
const MARGIN: SignedDuration = SignedDuration::from_mins(1);

/// Columns that usually hold when a row was last written, the best first.
const WRITTEN_AT: [&str; 7] = [
    "updated_at",
    "modified_at",
    "changed_at",
    "updated",
    "created_at",
    "inserted_at",
    "created",
];

/// A command for each table, of all its events that a row as it is now can make.
fn backfills(
    rules: &[&RuleConfig],
    tables: &[Table],
    newest_event: Option<Timestamp>,
) -> Vec<String> {
    let since = newest_event.and_then(|at| at.checked_sub(MARGIN).ok());
    let command = |table: &Table| {
        let name = table.name();
        let of_table = |rule: &&&RuleConfig| {
            let watched = TableName::parse(&rule.table);
            watched.as_ref() == Some(name)
                && rule.on.iter().any(|on| on == "insert" || on == "update")
        };
        let mut types: Vec<&str> = Vec::new();
        for rule in rules.iter().filter(of_table) {
            if !types.contains(&rule.event_type.as_str()) {
                types.push(&rule.event_type);
            }
        }
        let mut command = format!("walhook backfill --table {}", shell(&name.to_sql()));
        for event_type in &types {
            command.push_str(&format!(" --event {}", shell(event_type)));
        }
        if let (Some(since), Some(column)) = (since, written_at(table)) {
            command.push_str(&format!(
                " --since {since:.0} --since-column {}",
                shell(column)
            ));
        }
        (!types.is_empty()).then_some(command)
    };
    tables.iter().filter_map(command).collect()
}

/// The column that says best when a row was last written.
fn written_at(table: &Table) -> Option<&str> {
    let is_time = |column: &&Column| column.type_name.starts_with("timestamp");
    let times = table.columns.iter().filter(is_time);
    let times: Vec<&str> = times.map(|column| column.name.as_str()).collect();
    WRITTEN_AT.into_iter().find(|name| times.contains(name))
}

/// As a shell takes it for one word.
fn shell(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match word.bytes().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::shell;

    #[test]
    fn a_word_is_quoted_where_a_shell_would_take_it_apart() {
        assert_eq!(shell("public.orders"), "public.orders");
        assert_eq!(shell("public.\"O'x\""), r#"'public."O'\''x"'"#);
    }
}
