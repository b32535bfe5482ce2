//! `walhook check`: what must hold, found without changing anything.

use anyhow::Context;

use super::Outcome;
use super::status::Subscriptions;
use crate::config::Config;
use crate::conninfo::{ConnInfo, Purpose};
use crate::preflight::{self, Finding, Level, SourceState, StoreState, render};
use crate::replication;
use crate::source;
use crate::terminal::chain;

mod connections;
mod machine;
mod position;
mod reach;

use position::Position;

/// Look whether everything that must hold does, without changing anything
///
/// Looks at the source's server, its role, the tables and columns that rules name, what
/// publishing them would break, the publication, the store, the encryption key and the
/// slot; and whether this machine has the files and the address that `walhook run` would
/// use. Each failure comes with the SQL that fixes it. What `walhook setup` will make
/// is listed and is no failure.
///
/// Exit code 0: no failure. 1: at least one.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  walhook check
  walhook check --strict         before `walhook run`: also fails on what setup has yet to make
  walhook check --json | jq '.findings[] | select(.level == \"failure\")'

Next: `walhook setup`.")]
pub struct Args {
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,

    /// Fail also on warnings and on what `walhook setup` has yet to make.
    #[arg(long)]
    strict: bool,
}

pub async fn run(args: Args, config: &Config) -> anyhow::Result<Outcome> {
    let findings = findings(config).await?;
    if args.json {
        super::print_json(&serde_json::json!({ "findings": findings }))?;
    } else {
        super::print_lines(&render(&findings))?;
    }
    let stands_against = |finding: &Finding| match finding.level {
        Level::Ok => false,
        Level::Setup | Level::Warning => args.strict,
        Level::Failure => true,
    };
    Ok(Outcome::of(!findings.iter().any(stands_against)))
}

/// Everything that there is to say, in the order in which it should be fixed.
async fn findings(config: &Config) -> anyhow::Result<Vec<Finding>> {
    let rules = config.rules_to_watch()?;
    let conninfo = config.source_conninfo()?;
    let mut findings = Vec::new();
    // Before the store: a running walhook records what it acknowledges before the slot
    // moves, and so a slot that is read first is never ahead of the record.
    let source = async {
        let client = source::connect(&conninfo, Purpose::Inspection("check")).await?;
        let state = SourceState::read(&client, config, &rules).await?;
        anyhow::Ok((client, state))
    };
    let source = Box::pin(source).await;
    let store = match StoreState::read(config, Purpose::Inspection("check")).await {
        Ok(store) => Some(store),
        Err(error) => {
            let conninfo = config.store_conninfo(&conninfo).ok();
            findings.push(reach::unreachable("the store", &error, conninfo.as_ref()));
            None
        }
    };
    match source {
        Err(error) => findings.insert(0, reach::unreachable("the source", &error, Some(&conninfo))),
        Ok((client, source)) => {
            findings.extend(source.preconditions(config, &rules));
            findings.extend(source.standby(&client, &conninfo).await);
            findings
                .extend(preflight::standby_copies(&client, &conninfo, &config.source.slot).await);
            if source.role.may_replicate() {
                findings.push(walsender(&conninfo).await);
            }
            findings.extend(source.publication_findings(config));
            let position = Position {
                client: &client,
                conninfo: &conninfo,
                config,
                source: &source,
                progress: store.as_ref().and_then(|store| store.progress.as_ref()),
                wedged: store.as_ref().and_then(|store| store.wedged.as_deref()),
            };
            findings.extend(position.findings().await);
            let store = match &store {
                Some(store) => store.store.get().await.ok(),
                None => None,
            };
            let to_store = config.store_conninfo(&conninfo)?;
            let store = store.as_deref().map(|client| (client, &to_store));
            let api = config.store.connections;
            let limits = connections::findings((&client, &conninfo), store, api);
            findings.extend(limits.await);
        }
    }
    if let Some(store) = store {
        findings.extend(store.preconditions(config));
        findings.extend(unreadable_subscriptions(&store).await);
    }
    findings.extend(machine::findings(config).await);
    Ok(findings)
}

/// Whether a walsender serves us: `pg_hba.conf`, a free walsender, password and TLS
/// stand in the way of this connection just as of the one that streams.
async fn walsender(conninfo: &ConnInfo) -> Finding {
    match replication::identify(conninfo).await {
        Ok(system) => Finding::ok(format!(
            "a walsender answers: system {}, timeline {}",
            system.system_identifier, system.timeline
        )),
        Err(error) => Finding::failure("no walsender can be reached", chain(&error.into())),
    }
}

/// Subscriptions that an instance could not read.
async fn unreadable_subscriptions(state: &StoreState) -> Option<Finding> {
    state.record.as_ref()?;
    let read = async {
        let client = state.store.get().await.context("reach the store")?;
        Subscriptions::read(&client).await
    };
    match read.await {
        Ok(subscriptions) => {
            let why = "rotate the secret, or set what it names again";
            Some(Finding::warning(subscriptions.problem()?, why))
        }
        Err(error) => Some(Finding::failure(
            "the subscriptions cannot be read",
            chain(&error),
        )),
    }
}
