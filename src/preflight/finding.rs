//! What `walhook check` found, and how it is shown.

use serde::Serialize;

use crate::terminal::Lines;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub level: Level,
    /// What was found, as a sentence.
    pub what: String,
    /// Why it matters; empty where it is good.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Statements and commands that fix it, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mend: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// Not there yet; `walhook setup` makes it.
    Setup,
    /// Works, but carries a risk.
    Warning,
    Failure,
}

impl Finding {
    pub fn ok(what: impl Into<String>) -> Self {
        Finding {
            level: Level::Ok,
            what: what.into(),
            why: String::new(),
            mend: Vec::new(),
        }
    }

    pub fn setup(what: impl Into<String>) -> Self {
        Finding {
            level: Level::Setup,
            why: "`walhook setup` makes it".to_owned(),
            ..Finding::ok(what)
        }
    }

    pub fn warning(what: impl Into<String>, why: impl Into<String>) -> Self {
        Finding {
            level: Level::Warning,
            why: why.into(),
            ..Finding::ok(what)
        }
    }

    pub fn failure(what: impl Into<String>, why: impl Into<String>) -> Self {
        Finding {
            level: Level::Failure,
            why: why.into(),
            ..Finding::ok(what)
        }
    }

    pub fn mend(mut self, statement: impl Into<String>) -> Self {
        self.mend.push(statement.into());
        self
    }

    pub fn mend_all(mut self, statements: impl IntoIterator<Item = String>) -> Self {
        self.mend.extend(statements);
        self
    }
}

/// The findings for people: one line each, what fixes it below, a summary at the end.
pub fn render(findings: &[Finding]) -> Lines {
    let mut lines = Lines::default();
    for finding in findings {
        let mark = match finding.level {
            Level::Ok => "ok     ",
            Level::Setup => "setup  ",
            Level::Warning => "warning",
            Level::Failure => "FAILURE",
        };
        let why = match finding.why.as_str() {
            "" => String::new(),
            why => format!(": {why}"),
        };
        lines.line(format_args!("{mark}  {}{why}", finding.what));
        for statement in &finding.mend {
            lines.line(format_args!("           {statement}"));
        }
    }
    let count = |level| {
        findings
            .iter()
            .filter(|finding| finding.level == level)
            .count()
    };
    let missing = match count(Level::Setup) {
        0 => String::new(),
        missing => format!(", {} that `walhook setup` makes", counted(missing, "thing")),
    };
    lines.line("");
    lines.line(format_args!(
        "{}, {}{missing}",
        counted(count(Level::Failure), "failure"),
        counted(count(Level::Warning), "warning")
    ));
    lines
}

fn counted(number: usize, noun: &str) -> String {
    match number {
        0 => format!("no {noun}s"),
        1 => format!("1 {noun}"),
        many => format!("{many} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_mends_each_failure_and_counts() {
        let findings = [
            Finding::ok("PostgreSQL 15.18"),
            Finding::failure("wal_level is `replica`", "the WAL lacks rows")
                .mend("alter system set wal_level = 'logical';"),
            Finding::setup("the publication `walhook` does not exist"),
        ];
        assert_eq!(
            render(&findings).to_string(),
            "ok       PostgreSQL 15.18\n\
             FAILURE  wal_level is `replica`: the WAL lacks rows\n           \
             alter system set wal_level = 'logical';\n\
             setup    the publication `walhook` does not exist: `walhook setup` makes it\n\n\
             1 failure, no warnings, 1 thing that `walhook setup` makes"
        );
    }
}
