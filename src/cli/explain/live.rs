//! Changes as they come, through a temporary slot.

use std::sync::Arc;

use anyhow::Context;

use super::audience::{Asked, Audience};
use super::report::{EventReport, Report, RuleReport, Verdict};
use super::taken::{self, Decision, Taken};
use super::{Args, Output};
use crate::app::old_values;
use crate::capture::{OldValueTables, ShadowReader, SourceCatalog};
use crate::config::Config;
use crate::conninfo::{Client, Purpose};
use crate::event::Event;
use crate::lsn::Lsn;
use crate::mapping::{self, Explained, Explanation, Mapper, RuleSet};
use crate::pgoutput::{Change, StreamEvent, TransactionHeader};
use crate::replication::{self, ReplicationError, WalStream};
use crate::source::server::Server;
use crate::source::{catalog, publication, standby};
use crate::terminal::tell;

pub(super) async fn explain(
    args: &Args,
    config: &Config,
    output: &mut Output,
) -> anyhow::Result<bool> {
    let rules = config.rules_to_watch()?;
    let conninfo = config.source_conninfo()?;
    let mut client = crate::source::connect(&conninfo, Purpose::Inspection("explain")).await?;
    let catalog = SourceCatalog {
        source: conninfo.clone(),
        publication: config.source.publication.clone(),
        slot: config.source.slot.clone(),
    };
    let old_values = check_rules(&mut client, &catalog, config, &rules).await?;
    let mut audience = Audience::open(config).await?;
    if audience.store().is_none() {
        tell("the store is not set up: nobody is subscribed (`walhook setup` makes it)");
    }
    let on_standby = Server::read(&client).await?.in_recovery;
    drop(client);
    tell("waiting for the transactions that are open now to end …");
    let starting = replication::start_temporary(&conninfo, &config.source);
    let started = match on_standby {
        false => starting.await,
        true => {
            let primary = crate::source::connect_writable(&conninfo, "explain").await?;
            standby::logging_snapshots(&primary, starting).await
        }
    };
    let mut stream = match started {
        Err(error @ ReplicationError::Timeout { .. }) => {
            return Err(anyhow::Error::from(error).context(
                "make a temporary slot: it begins only when every transaction that was open has \
                 ended; pg_stat_activity names the old ones",
            ));
        }
        started => started.context("make a temporary slot")?,
    };
    tell(format_args!(
        "reading the WAL of {}: changes that commit from now on are shown",
        conninfo.describe()
    ));
    let system = stream.system().system_identifier;
    let explainer = Explainer {
        mapper: Mapper::new(Arc::new(rules), system),
        shadow: ShadowReader::new(&config.source.slot, old_values),
        system,
        audience: &mut audience,
    };
    let ended = match args.duration {
        None => follow(&mut stream, explainer, output).await,
        Some(duration) => {
            let following = follow(&mut stream, explainer, output);
            tokio::time::timeout(duration.0, following)
                .await
                .unwrap_or(Ok(()))
        }
    };
    stream.shutdown().await;
    ended.map(|()| true)
}

/// As `walhook run` does: a typo is an error and never a silent non-match. And what
/// the publication lacks is said, because nothing of it would be seen. Answers where the
/// old values of the tables come from.
async fn check_rules(
    client: &mut Client,
    catalog: &SourceCatalog,
    config: &Config,
    rules: &RuleSet,
) -> anyhow::Result<OldValueTables> {
    let names: Vec<_> = rules.tables().cloned().collect();
    let tables = catalog::describe(client, &names).await?;
    let described: Vec<_> = tables.iter().map(catalog::Table::description).collect();
    let existing = catalog::list(client).await?;
    let errors = rules.check(&described, &existing);
    if !errors.is_empty() {
        return Err(config.locate(errors).into());
    }
    let server = Server::read(client).await?.version_number;
    let name = &config.source.publication;
    let publication = publication::inspect(client, name, server).await?;
    let publication = publication.with_context(|| {
        format!("the publication `{name}` does not exist: run `walhook setup`, which makes it")
    })?;
    for difference in publication.differences(&tables, server) {
        if difference.is_failure() {
            tell(format_args!(
                "the publication `{name}`: {difference}; run `walhook setup`"
            ));
        }
    }
    let sources = old_values::sources(rules, &tables, Lsn::ZERO);
    old_values::define(sources, catalog, client).await
}

/// What says of a change what comes of it.
struct Explainer<'a> {
    mapper: Mapper,
    shadow: ShadowReader,
    system: u64,
    audience: &'a mut Audience,
}

async fn follow(
    stream: &mut WalStream,
    mut explainer: Explainer<'_>,
    output: &mut Output,
) -> anyhow::Result<()> {
    let mut open: Option<TransactionHeader> = None;
    loop {
        let batch = stream.next_batch().await?;
        // Read after the batch has come: who was subscribed when it committed is there.
        if batch
            .iter()
            .any(|one| matches!(one, StreamEvent::Change(_)))
        {
            explainer.audience.refresh().await?;
            if let Some(store) = explainer.audience.store() {
                explainer.shadow.look(store, &batch).await?;
            }
        }
        for event in batch {
            let report = match event {
                StreamEvent::Begin(header) => {
                    open = Some(header);
                    continue;
                }
                StreamEvent::Change(change) => {
                    let Some(header) = open else { continue };
                    explainer.explain(&header, &change).await?
                }
                StreamEvent::Undecodable {
                    lsn,
                    ordinal,
                    relation,
                    error,
                    payload: _,
                } => Report {
                    commit_lsn: open.map_or(lsn, |header| header.commit_lsn),
                    ordinal: ordinal.unwrap_or(0),
                    at: open.map_or_else(String::new, |header| header.committed_at.to_string()),
                    operation: None,
                    table: relation.unwrap_or_default(),
                    key: serde_json::Map::new(),
                    rules: Vec::new(),
                    note: Some(format!("the message cannot be decoded: {error}")),
                },
                StreamEvent::Commit { end_lsn, .. } => {
                    open = None;
                    stream.acknowledge(end_lsn);
                    continue;
                }
                StreamEvent::Keepalive { wal_end, .. } => {
                    if open.is_none() {
                        stream.acknowledge(wal_end);
                    }
                    continue;
                }
                StreamEvent::Message { .. } => continue,
            };
            if !output.show(&report)? {
                return Ok(());
            }
        }
    }
}

impl Explainer<'_> {
    async fn explain(
        &mut self,
        header: &TransactionHeader,
        change: &Change,
    ) -> anyhow::Result<Report> {
        let answered = self.shadow.answer(header, change);
        let explanation = self.mapper.explain(header, &answered.change);
        let taken = match (answered.taken, self.audience.store()) {
            (true, Some(store)) => {
                let ordinal = change.ordinal;
                let read = taken::read(store, self.system, header, ordinal, &explanation);
                Some(read.await?)
            }
            (true, None) | (false, _) => None,
        };
        Ok(self.report(header, change, explanation, taken))
    }

    fn report(
        &self,
        header: &TransactionHeader,
        change: &Change,
        explanation: Explanation,
        mut taken: Option<Taken>,
    ) -> Report {
        let Explanation {
            table,
            operation,
            key,
            rules,
        } = explanation;
        let unwatched = rules.is_empty();
        let note = unwatched.then(|| format!("no rule watches {table}"));
        let relation = change.relation.oid;
        let rules = rules.into_iter().map(|one| RuleReport {
            rule: one.rule.to_string(),
            event_type: one.event_type.to_string(),
            verdict: self.verdict(header, relation, one, taken.as_mut()),
        });
        let key = key.into_iter().map(|(name, value)| {
            let value = serde_json::from_str(value.get()).unwrap_or(serde_json::Value::Null);
            (name, value)
        });
        Report {
            commit_lsn: header.commit_lsn,
            ordinal: change.ordinal,
            at: header.committed_at.to_string(),
            operation: Some(operation),
            table: table.to_string(),
            key: key.collect(),
            rules: rules.collect(),
            note,
        }
    }

    fn verdict(
        &self,
        header: &TransactionHeader,
        relation: u32,
        one: Explained,
        taken: Option<&mut Taken>,
    ) -> Verdict {
        if let mapping::Verdict::OtherOperation(on) = one.verdict {
            return Verdict::OtherOperation { on };
        }
        if self.shadow.is_held(relation, &one.rule, header.commit_lsn) {
            return Verdict::WaitsForOldValues;
        }
        if let Some(taken) = taken {
            match taken.remove(&*one.rule) {
                Some(Decision::Event {
                    id,
                    tenant_id,
                    body,
                }) => {
                    let asked = Asked {
                        id,
                        event_type: &one.event_type,
                        tenant_id: &tenant_id,
                        commit_lsn: header.commit_lsn,
                        body: &body,
                    };
                    return Verdict::Event(self.audience.report(&asked, None));
                }
                Some(Decision::Parked { reason, detail }) => {
                    return Verdict::Parked {
                        reason,
                        detail,
                        condition: None,
                    };
                }
                None if taken::lacks_a_value(&one.verdict) => return Verdict::DidNotHold,
                None => {}
            }
        }
        match one.verdict {
            mapping::Verdict::Event { event, condition } => {
                Verdict::Event(self.event(&event, condition))
            }
            mapping::Verdict::OtherOperation(on) => Verdict::OtherOperation { on },
            mapping::Verdict::ConditionFalse(condition) => Verdict::ConditionFalse { condition },
            mapping::Verdict::Parked {
                reason,
                detail,
                condition,
            } => Verdict::Parked {
                reason: reason.as_str().to_owned(),
                detail,
                condition,
            },
        }
    }

    fn event(&self, event: &Event, condition: Option<mapping::Trace>) -> EventReport {
        let asked = Asked {
            id: event.id,
            event_type: &event.event_type,
            tenant_id: &event.tenant_id,
            commit_lsn: event.position.commit_lsn,
            body: &event.body,
        };
        self.audience.report(&asked, condition)
    }
}
