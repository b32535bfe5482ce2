//! The gaps in the status.

use serde::Serialize;

use crate::conninfo::Client;
use crate::health::{Problem, ProblemKind, STALE_OLD_VALUES};
use crate::replication::slot::REMEDY;
use crate::source::gaps;

/// What committed and is not delivered.
#[derive(Debug, Serialize)]
pub(super) struct Gaps {
    /// Those that nobody has accepted yet.
    pub(super) open: Vec<OpenGap>,
    /// How many `walhook setup --accept-gap` accepted, and the newest of them.
    pub(super) accepted: i64,
    pub(super) newest: Option<Gap>,
}

#[derive(Debug, Serialize)]
pub(super) struct OpenGap {
    kind: String,
    table: Option<String>,
    pub(super) from_lsn: String,
    /// Where capture went on; null: it has not, or the table is still missing.
    pub(super) to_lsn: Option<String>,
    pub(super) reason: String,
    pub(super) age_seconds: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Gap {
    pub(super) from_lsn: String,
    pub(super) to_lsn: String,
    pub(super) reason: String,
    pub(super) age_seconds: f64,
}

/// An open gap as a problem.
pub(super) struct GapProblem<'a> {
    pub(super) reason: &'a str,
    pub(super) problem: Problem,
}

impl Gaps {
    pub(super) fn problems(&self) -> impl Iterator<Item = GapProblem<'_>> {
        self.open.iter().map(|gap| {
            let OpenGap {
                from_lsn, reason, ..
            } = gap;
            let text = match &gap.to_lsn {
                Some(to) => format!(
                    "capture went on after a gap, from {from_lsn} to {to}: {reason}. `walhook setup --accept-gap` says what to backfill, and closes it"
                ),
                None => format!("gap from {from_lsn} on: {reason}. {REMEDY}"),
            };
            let problem = Problem {
                affects_readiness: gap.kind != STALE_OLD_VALUES,
                ..ProblemKind::Gap.because(text)
            };
            GapProblem { reason, problem }
        })
    }
}

pub(super) async fn read(client: &Client, slot: &str) -> anyhow::Result<Gaps> {
    let open = gaps::open(client, slot).await?;
    let newest = gaps::newest_accepted(client, slot).await?;
    let open = open.into_iter().map(|gap| OpenGap {
        kind: gap.kind,
        table: gap.table,
        from_lsn: gap.from.to_string(),
        to_lsn: gap.to.map(|to| to.to_string()),
        reason: gap.reason,
        age_seconds: gap.age_seconds,
    });
    Ok(Gaps {
        open: open.collect(),
        accepted: newest.as_ref().map_or(0, |gap| gap.count),
        newest: newest.map(|gap| Gap {
            from_lsn: gap.from.to_string(),
            to_lsn: gap.to.to_string(),
            reason: gap.reason,
            age_seconds: gap.age_seconds,
        }),
    })
}
