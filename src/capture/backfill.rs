//! Backfills: rows that exist already become events, in the stream's order.
//!
//! A chunk of rows is read between two watermarks. At the second, each row stands as it
//! was read or as a change between the two has left it, and its events take that place
//! of the WAL: after every change before it and ahead of every one after it. They
//! commit with the backfill's cursor, so that no chunk is taken twice. What the stream
//! itself has made of a row since the backfill began is not made again.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::{Row, Statement};
use uuid::Uuid;

use super::shadow::row::{Binding, RowKey};
use super::watermark::{Recent, Snapshot};
use crate::conninfo::Client;
use crate::event::SubscriptionId;
use crate::handoff::{Batch, TakenChunk};
use crate::lsn::Lsn;
use crate::mapping::{Mapped, RuleSet, TableName};
use crate::pgoutput::{Change, Relation, Tuple};

mod chunk;
mod window;

use window::Window;

/// Where chunks go.
pub struct Backfilling {
    pub run: Uuid,
    pub chunks: mpsc::Sender<Chunk>,
}

/// Rows that were read between two watermarks.
pub struct Chunk {
    pub backfill: Uuid,
    pub number: u64,
    /// What the rows' values are those of.
    pub relation: Arc<Relation>,
    pub rows: Vec<ChunkRow>,
    /// The key of the last row; `None` where there was none.
    pub cursor: Option<Vec<String>>,
    /// There is nothing after it.
    pub end: bool,
    pub snapshot: Snapshot,
    /// Not answered where the session ended.
    pub taken: oneshot::Sender<Taken>,
}

pub struct ChunkRow {
    pub key: Vec<Bytes>,
    pub tuple: Tuple,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    Durable,
    /// It may lack a transaction that came before it in the WAL, or the table was
    /// altered meanwhile: describe and read it again.
    ReadAgain,
    /// The backfill was paused or cancelled, and nothing of the chunk was taken.
    Stopped,
    /// The rules that run do not have one that it asks for.
    UnknownRule(String),
}

/// A backfill that has begun and is not over.
struct Job {
    id: Uuid,
    table: TableName,
    key: Vec<String>,
    rules: HashSet<String>,
    subscription: Option<SubscriptionId>,
    from_lsn: Lsn,
    bound: Option<(Arc<Relation>, Option<Binding>)>,
}

pub(super) struct Backfills {
    slot: String,
    system_identifier: u64,
    run: Uuid,
    chunks: mpsc::Receiver<Chunk>,
    /// Handed out once.
    sender: Option<mpsc::Sender<Chunk>>,
    pub(super) recent: Recent,
    jobs: Vec<Job>,
    window: Option<Window>,
    /// Rows that the stream has made events of: the backfill's id and a hash each.
    noted: (Vec<Uuid>, Vec<Vec<u8>>),
    /// Answered when the chunk is durable.
    answer: Option<oneshot::Sender<Taken>>,
    statements: Statements,
}

struct Statements {
    note: Statement,
    find: Statement,
    advance: Statement,
}

/// Chunks that may wait for the session. One is under way at any time.
const CHUNKS: usize = 2;

impl Backfills {
    pub(super) async fn begin(
        client: &Client,
        slot: &str,
        system_identifier: u64,
    ) -> anyhow::Result<Self> {
        let prepare = |sql: &'static str| client.prepare(sql);
        let prepared = async {
            Ok::<_, tokio_postgres::Error>(Statements {
                note: prepare(include_str!(
                    "../../sql/queries/capture/backfill/note_streamed.sql"
                ))
                .await?,
                find: prepare(include_str!(
                    "../../sql/queries/capture/backfill/find_streamed.sql"
                ))
                .await?,
                advance: prepare(include_str!(
                    "../../sql/queries/capture/backfill/advance.sql"
                ))
                .await?,
            })
        };
        let statements = prepared
            .await
            .context("prepare the backfills' statements")?;
        let jobs = Job::list(client, slot, None).await?;
        let (sender, chunks) = mpsc::channel(CHUNKS);
        Ok(Backfills {
            slot: slot.to_owned(),
            system_identifier,
            run: Uuid::now_v7(),
            chunks,
            sender: Some(sender),
            recent: Recent::default(),
            jobs,
            window: None,
            noted: Default::default(),
            answer: None,
            statements,
        })
    }

    pub(super) fn backfilling(&mut self) -> Option<Backfilling> {
        Some(Backfilling {
            run: self.run,
            chunks: self.sender.take()?,
        })
    }

    /// The stream has come to this change.
    pub(super) fn see(&mut self, change: &Change) {
        let Some(window) = &mut self.window else {
            return;
        };
        let job = self.jobs.iter_mut().find(|job| job.id == window.backfill);
        if let Some(job) = job.filter(|job| job.is_of(&change.relation)) {
            window.apply(job.bind(&change.relation), change);
        }
    }

    /// Something of the stream is not known: what is between the watermarks cannot be
    /// relied upon.
    pub(super) fn spoil(&mut self) {
        if let Some(window) = &mut self.window {
            window.spoil();
        }
    }

    /// Notes what rules made of the change's row, for the backfills that would make the same.
    pub(super) fn note(&mut self, rules: &RuleSet, change: &Change, mapped: &[Mapped]) {
        let of_table = |job: &&mut Job| job.is_of(&change.relation);
        for job in self.jobs.iter_mut().filter(of_table) {
            let binding = job.bind(&change.relation);
            let Some(key) = binding.and_then(|binding| binding.keys(&change.operation).1) else {
                continue;
            };
            for one in mapped {
                let Mapped::Event(event) = one else { continue };
                let rule = rules.rule_name(event.position.rule_index);
                if let Some(rule) = rule.filter(|rule| job.rules.contains(*rule)) {
                    self.noted.0.push(job.id);
                    self.noted.1.push(row_hash(rule, &key));
                }
            }
        }
    }

    /// Whether something was noted that is not durable yet.
    pub(super) fn is_changed(&self) -> bool {
        !self.noted.0.is_empty()
    }

    /// Writes what was noted, in the transaction that is open on the client.
    pub(super) async fn write(&mut self, client: &Client) -> anyhow::Result<()> {
        if self.noted.0.is_empty() {
            return Ok(());
        }
        let over = client
            .query(&self.statements.note, &[&self.noted.0, &self.noted.1])
            .await
            .context("note what the stream made of rows that are backfilled")?;
        let over: Vec<Uuid> = over.iter().map(|row| row.get(0)).collect();
        self.jobs.retain(|job| !over.contains(&job.id));
        Ok(())
    }

    /// Moves the backfill after the chunk, in the transaction that is open on the
    /// client. False where it was paused or cancelled.
    pub(super) async fn advance(
        &mut self,
        client: &Client,
        chunk: &TakenChunk,
        batch: &Batch,
        deliveries: usize,
    ) -> anyhow::Result<bool> {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let advanced = client
            .query_opt(
                &self.statements.advance,
                &[
                    &chunk.backfill,
                    &chunk.cursor,
                    &count(chunk.rows),
                    &count(batch.events.len()),
                    &count(deliveries),
                    &count(batch.parked.len()),
                    &count(chunk.streamed),
                    &chunk.end,
                ],
            )
            .await
            .context("move the backfill on")?;
        if advanced.is_none() {
            self.reply(Taken::Stopped);
        } else if chunk.end {
            self.jobs.retain(|job| job.id != chunk.backfill);
        }
        Ok(advanced.is_some())
    }

    /// What was written has committed.
    pub(super) fn is_durable(&mut self) {
        self.noted.0.clear();
        self.noted.1.clear();
        self.reply(Taken::Durable);
    }

    fn reply(&mut self, taken: Taken) {
        if let Some(answer) = self.answer.take() {
            // Nobody waits any more: the session is ending.
            let _ = answer.send(taken);
        }
    }
}

impl Job {
    /// Those that have begun, or the given one; none of those that are over.
    async fn list(client: &Client, slot: &str, id: Option<Uuid>) -> anyhow::Result<Vec<Self>> {
        let list = include_str!("../../sql/queries/capture/backfill/list.sql");
        let rows = client.query(list, &[&slot, &id]).await;
        let rows = rows.context("read the backfills that are not over")?;
        Ok(rows.iter().map(Self::from_row).collect())
    }

    fn from_row(row: &Row) -> Self {
        let rules: Vec<String> = row.get("rules");
        Job {
            id: row.get("id"),
            table: TableName {
                schema: row.get("schema_name"),
                name: row.get("table_name"),
            },
            key: row.get("key_columns"),
            rules: rules.into_iter().collect(),
            subscription: row
                .get::<_, Option<Uuid>>("subscription_id")
                .map(SubscriptionId),
            from_lsn: row.get("from_lsn"),
            bound: None,
        }
    }

    fn is_of(&self, relation: &Relation) -> bool {
        relation.name == self.table.name && relation.namespace == self.table.schema
    }

    /// Where the relation has the key; `None` where it does not tell one row from another.
    fn bind(&mut self, relation: &Arc<Relation>) -> Option<&Binding> {
        let known = self.bound.as_ref();
        if !known.is_some_and(|(bound, _)| Arc::ptr_eq(bound, relation)) {
            let binding = Binding::of(relation, &self.key, &[], false);
            self.bound = Some((Arc::clone(relation), binding));
        }
        self.bound
            .as_ref()
            .and_then(|(_, binding)| binding.as_ref())
    }
}

/// What stands for a rule's event of a row: the keys themselves may be long.
fn row_hash(rule: &str, key: &RowKey) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update((rule.len() as u64).to_be_bytes());
    hash.update(rule.as_bytes());
    hash.update(key);
    hash.finalize()[..16].to_vec()
}
