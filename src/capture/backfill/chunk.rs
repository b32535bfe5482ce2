//! Takes a chunk at its second watermark.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::Context;
use uuid::Uuid;

use super::window::{Now, Window};
use super::{Backfills, Chunk, ChunkRow, Job, Taken, row_hash};
use crate::capture::session::{Interrupted, Session};
use crate::capture::shadow::row::{RowKey, key_of};
use crate::capture::watermark::{Bound, Watermark};
use crate::conninfo::Client;
use crate::event::BackfillId;
use crate::handoff::TakenChunk;
use crate::mapping::{ExistingRow, Mapped, Mapper, RuleSet};
use crate::pgoutput::{Change, Operation, TransactionHeader};

/// What a rule made of a row of the chunk.
struct Made {
    hash: Vec<u8>,
    mapped: Mapped,
}

impl Session<'_> {
    /// Takes a watermark of a backfill. The chunk's events are a transaction of the store
    /// by themselves.
    pub(in crate::capture) async fn take_backfill(
        &mut self,
        header: &TransactionHeader,
        backfill: Uuid,
        watermark: &Watermark,
    ) -> anyhow::Result<()> {
        if watermark.run != self.backfills.run {
            return Ok(());
        }
        match watermark.bound {
            Bound::Low => {
                let client = &self.writer.client;
                self.backfills.open(client, backfill, watermark.chunk).await
            }
            Bound::High => {
                let Some(chunk) = self.backfills.close(backfill, watermark.chunk) else {
                    return Ok(());
                };
                if !self.batch.is_empty() || self.is_shadow_changed() {
                    self.flush().await?;
                }
                let rules = Arc::clone(self.mapper.rules());
                let mapped = self.backfills.map(Arc::clone(&rules), header, chunk);
                let Some((mut taken, made)) = mapped else {
                    return Ok(());
                };
                Interrupted::by_new_label(&rules, made.iter().map(|one| &one.mapped))?;
                let streamed = self
                    .backfills
                    .find_streamed(&self.writer.client, &taken, &made)
                    .await?;
                for one in made {
                    match streamed.contains(&one.hash) {
                        true => taken.streamed += 1,
                        false => self.batch.add(one.mapped),
                    }
                }
                self.batch.chunk = Some(taken);
                self.flush().await
            }
        }
    }
}

impl Backfills {
    /// The first watermark of a chunk: from here on the table's changes are kept.
    async fn open(&mut self, client: &Client, backfill: Uuid, number: u64) -> anyhow::Result<()> {
        if !self.jobs.iter().any(|job| job.id == backfill) {
            let job = Job::list(client, &self.slot, Some(backfill)).await?.pop();
            let Some(job) = job else {
                return Ok(());
            };
            self.jobs.push(job);
        }
        self.window = Some(Window::open(backfill, number, self.recent.brought()));
        Ok(())
    }

    /// The second watermark: the chunk between the two, which was sent before it was written.
    fn close(&mut self, backfill: Uuid, number: u64) -> Option<Chunk> {
        while let Ok(chunk) = self.chunks.try_recv() {
            if (chunk.backfill, chunk.number) == (backfill, number) {
                return Some(chunk);
            }
        }
        None
    }

    /// What the rules make of the rows as they are now. `None` where the chunk cannot be
    /// taken, which its reader is told.
    fn map(
        &mut self,
        rules: Arc<RuleSet>,
        header: &TransactionHeader,
        chunk: Chunk,
    ) -> Option<(TakenChunk, Vec<Made>)> {
        self.answer = Some(chunk.taken);
        let window = self.window.take();
        let window = window.filter(|window| {
            (window.backfill, window.number) == (chunk.backfill, chunk.number)
                && !window.is_spoiled()
                && !self.recent.may_be_missed(window.earlier, &chunk.snapshot)
        });
        let Some(job) = self.jobs.iter().find(|job| job.id == chunk.backfill) else {
            // It was over before its first watermark.
            self.reply(Taken::Stopped);
            return None;
        };
        let Some(window) = window else {
            self.reply(Taken::ReadAgain);
            return None;
        };
        let mut indexes = HashSet::new();
        for name in &job.rules {
            match rules.index_of(name) {
                Some(index) => indexes.insert(index),
                None => {
                    let unknown = Taken::UnknownRule(name.clone());
                    self.reply(unknown);
                    return None;
                }
            };
        }
        let taken = TakenChunk {
            backfill: chunk.backfill,
            from_lsn: job.from_lsn,
            subscription: job.subscription,
            cursor: chunk.cursor,
            end: chunk.end,
            rows: chunk.rows.len(),
            streamed: 0,
        };
        let mut mapper = Mapper::new(rules, self.system_identifier);
        let mut made = Vec::new();
        let mut out = Vec::new();
        for (ordinal, row) in (0..).zip(chunk.rows) {
            let Some((key, now)) = stands(&window, &chunk.relation, row) else {
                self.reply(Taken::ReadAgain);
                return None;
            };
            let (Now::AsRead(new) | Now::Changed(new)) = now else {
                continue;
            };
            let change = Change {
                relation: Arc::clone(&chunk.relation),
                ordinal,
                operation: Operation::Insert { new },
            };
            let row = ExistingRow {
                backfill: BackfillId(chunk.backfill),
                change: &change,
                key: &key,
            };
            mapper.map_existing(header, &row, &indexes, &mut out);
            made.extend(out.drain(..).map(|(index, mapped)| {
                let rule = u16::try_from(index).ok();
                let rule = rule.and_then(|index| mapper.rules().rule_name(index));
                let hash = row_hash(rule.unwrap_or_default(), &key);
                Made { hash, mapped }
            }));
        }
        Some((taken, made))
    }

    /// Which of these the stream has made already since the backfill began.
    async fn find_streamed(
        &self,
        client: &Client,
        chunk: &TakenChunk,
        made: &[Made],
    ) -> anyhow::Result<HashSet<Vec<u8>>> {
        let events = made
            .iter()
            .filter(|one| matches!(one.mapped, Mapped::Event(_)));
        let hashes: Vec<&[u8]> = events.map(|one| one.hash.as_slice()).collect();
        if hashes.is_empty() {
            return Ok(HashSet::new());
        }
        let find = [&chunk.backfill as _, &hashes as _];
        let found = client.query(&self.statements.find, &find).await;
        let found = found.context("find what the stream has made of a backfill's rows")?;
        Ok(found.iter().map(|row| row.get(0)).collect())
    }
}

/// The row's key, and the row as it is now; `None` where that cannot be said.
fn stands(
    window: &Window,
    relation: &crate::pgoutput::Relation,
    row: ChunkRow,
) -> Option<(RowKey, Now)> {
    let key = key_of(row.key.iter().map(|value| Some(&value[..])))?;
    let now = window.now(relation, &key, row.tuple)?;
    Some((key, now))
}
