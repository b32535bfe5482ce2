//! The slot, and whether it continues where the recorded progress stands.

use super::SourceState;
use crate::config::Config;
use crate::conninfo::{Client, ConnInfo};
use crate::preflight::Finding;
use crate::replication::slot::{self, REMEDY};
use crate::source::progress::{self, Progress};
use crate::terminal::chain;

pub(super) struct Position<'a> {
    pub(super) client: &'a Client,
    pub(super) conninfo: &'a ConnInfo,
    pub(super) config: &'a Config,
    pub(super) source: &'a SourceState,
    pub(super) progress: Option<&'a Progress>,
    /// Why capture could not get past the progress, where only the stream shows it.
    pub(super) wedged: Option<&'a str>,
}

impl Position<'_> {
    pub(super) async fn findings(&self) -> Vec<Finding> {
        let &Position {
            client,
            conninfo,
            config,
            source,
            progress,
            wedged,
        } = self;
        let name = &config.source.slot;
        let what = format!("the slot `{name}`");
        if source.slot.is_none() && progress.is_none() {
            return vec![Finding::setup(format!("{what} does not exist"))];
        }
        let system = match progress::identify(client, conninfo, progress).await {
            Ok(system) => system,
            Err(error) => {
                return vec![Finding::failure(
                    "the source's system cannot be identified",
                    chain(&error),
                )];
            }
        };
        let recorded = progress.map(|progress| &progress.recorded);
        if let Err(gap) = slot::verify(recorded, &system, name, source.slot.as_ref()) {
            return vec![Finding::failure(what, gap.to_string())];
        }
        if let Some(reason) = wedged {
            return vec![Finding::failure(what, format!("{reason}. {REMEDY}"))];
        }
        let Some(state) = &source.slot else {
            return Vec::new();
        };
        let mut findings = Vec::new();
        if state.wal_status.as_deref() == Some("unreserved") {
            findings.push(Finding::failure(
            format!("{what} is about to be lost"),
            "its log is beyond max_slot_wal_keep_size and goes at the next checkpoint: start `walhook run`, or raise the limit",
        ));
        }
        findings.push(match (progress, state.active_pid) {
            (None, _) => Finding::setup(format!("{what} exists, but nothing is recorded of it")),
            (Some(_), Some(pid)) => Finding::ok(format!(
                "{what} continues the recorded progress; the walsender with pid {pid} serves it"
            )),
            (Some(_), None) => Finding::ok(format!(
                "{what} continues the recorded progress; nobody reads it now"
            )),
        });
        findings
    }
}
