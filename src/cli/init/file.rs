//! The text of the file. Names are the application's: none gets out of the string or
//! comment that it stands in.

use std::fmt::Write as _;

use crate::mapping::TableName;
use crate::terminal::visible;

use super::proposal::Proposal;
use super::tenant::Tenant;

/// Where a comment's line is broken.
const WIDTH: usize = 100;

pub(super) struct File<'a> {
    pub(super) source: &'a str,
    pub(super) store: &'a str,
    /// Where it is not the default.
    pub(super) slot: Option<&'a str>,
    pub(super) tenant: &'a Tenant,
    pub(super) proposals: &'a [Proposal],
}

impl File<'_> {
    pub(super) fn text(&self) -> String {
        let slot = match self.slot {
            Some(slot) => format!(
                "# The slot `walhook` is another database's.\nslot = {}\n",
                string(slot)
            ),
            None => String::new(),
        };
        let mut text = format!(
            "# Written by `walhook init`. Read it, and change what is not meant. Every other key has a default:\n\
             # a running walhook lists them at /docs/configuration.\n\
             #\n\
             # Passwords do not belong here. walhook reads PGPASSWORD, ~/.pgpass, or a whole URL from a file of\n\
             # its own (url_file instead of url).\n\n\
             # The database whose changes become events. The role `walhook` reads the WAL.\n\
             [source]\nurl = {source}\n{slot}\n\
             # Where walhook keeps events, deliveries and its progress. The role `walhook_store` owns them.\n\
             [store]\nurl = {store}\n\n\
             # `walhook setup --print-sql` prints the SQL that makes both roles.\n\n\
             [defaults]\n\
             # Whose row it is: only that tenant's subscriptions get its events.\n\
             tenant = {tenant}\n\n\
             # One rule for each table: an event of every new row. Receivers get what stands under\n\
             # [events.data], and nothing else of the row.\n",
            source = string(self.source),
            store = string(self.store),
            tenant = self.tenant.toml(),
        );
        for proposal in self.proposals {
            text.push('\n');
            proposal.write(&mut text);
        }
        text
    }
}

/// The column in an expression, in double quotes unless it is a plain name.
pub(super) fn expression(column: &str) -> String {
    let quoted = || format!("\"{}\"", column.replace('"', "\"\""));
    // These two are the change's own, as plain names.
    if ["tg_op", "committed_at"].contains(&column) {
        return quoted();
    }
    let name = TableName {
        schema: "s".to_owned(),
        name: column.to_owned(),
    };
    let sql = name.to_sql();
    sql.strip_prefix("s.").map_or_else(quoted, str::to_owned)
}

/// A basic string of TOML, whatever it holds.
pub(super) fn string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A key of TOML.
pub(super) fn bare_or_string(key: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match !key.is_empty() && key.chars().all(is_bare) {
        true => key.to_owned(),
        false => string(key),
    }
}

/// A sentence as lines of comments.
pub(super) fn comment(text: &str) -> String {
    let mut comment = String::new();
    let mut line = String::from("#");
    for word in visible(text).split(' ') {
        if line.chars().count() + word.chars().count() >= WIDTH {
            comment.push_str(&line);
            comment.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    comment.push_str(&line);
    comment.push('\n');
    comment
}
