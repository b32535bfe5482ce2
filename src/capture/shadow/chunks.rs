//! Taking the chunks of a seed where their watermarks stand in the WAL.

use super::seeding::{Chunk, Taken, Touched};
use super::table::Table;
use super::{Activated, Shadow, row};
use crate::capture::watermark::{Bound, Snapshot, Subject, Watermark};
use crate::conninfo::Client;
use crate::lsn::Lsn;

impl Shadow {
    /// Takes a message of ours. Answers the rules, by index, that have become active.
    pub(in crate::capture) async fn message(
        &mut self,
        client: &Client,
        commit_lsn: Lsn,
        watermark: &Watermark,
    ) -> anyhow::Result<Vec<usize>> {
        let Subject::Shadow(id) = watermark.subject else {
            return Ok(Vec::new());
        };
        if watermark.run != self.run {
            return Ok(Vec::new());
        }
        let of_table = |table: &Table| table.id == id;
        let Some(index) = self.tables.iter().position(of_table) else {
            return Ok(Vec::new());
        };
        match watermark.bound {
            Bound::Low => {
                self.tables[index].touched.low(watermark.chunk);
                Ok(Vec::new())
            }
            Bound::High => {
                // The chunk was sent before its second watermark was written.
                while let Ok(chunk) = self.chunks.try_recv() {
                    if (chunk.table, chunk.number) == (id, watermark.chunk) {
                        return self.take_chunk(client, index, commit_lsn, chunk).await;
                    }
                }
                Ok(Vec::new())
            }
        }
    }

    async fn take_chunk(
        &mut self,
        client: &Client,
        index: usize,
        commit_lsn: Lsn,
        chunk: Chunk,
    ) -> anyhow::Result<Vec<usize>> {
        let touched = &mut self.tables[index].touched;
        let Some(untouched) = touched.high(chunk.number, &chunk.snapshot) else {
            // Nobody waits any more: the session is ending.
            let _ = chunk.taken.send(Taken::ReadAgain);
            return Ok(Vec::new());
        };
        let seeded = chunk.rows.len();
        let rows: Vec<_> = chunk
            .rows
            .into_iter()
            .filter_map(|row| {
                let key = row::key_of(row.key.iter().map(|value| Some(&value[..])))?;
                Some((key, row.values))
            })
            .collect();
        let wanted = rows.iter().map(|(key, _)| (index, key.clone()));
        self.rows
            .fetch(client, &self.statements, &self.tables, wanted)
            .await?;
        for (key, seen) in rows {
            let stored = self.rows.get(index, &key);
            let values = match stored {
                _ if untouched.contains(&key) => row::encode(&seen),
                // Deleted meanwhile.
                None => continue,
                // What no change has told since is as it was when it was read.
                Some(stored) => match row::decode(stored) {
                    Some(known) => row::encode(&row::fill(&known, seen)),
                    None => row::encode(&seen),
                },
            };
            if stored != Some(&values) {
                self.rows.set(index, key.clone(), Some(values));
            }
            self.rows.pass(index, key);
        }
        self.answers.push(chunk.taken);
        let table = &mut self.tables[index];
        table.seeded_rows += i64::try_from(seeded).unwrap_or(i64::MAX);
        table.changed = true;
        if chunk.last.is_some() {
            table.seeded_key = chunk.last;
        }
        match chunk.end {
            false => Ok(Vec::new()),
            true => Ok(self.complete(index, commit_lsn, &chunk.snapshot)),
        }
    }

    /// Every row has been read. Answers the rules, by index, that this makes active.
    fn complete(&mut self, index: usize, commit_lsn: Lsn, snapshot: &Snapshot) -> Vec<usize> {
        let table = &mut self.tables[index];
        table.complete = true;
        table.seeded_key = None;
        table.complete_at = Some(commit_lsn);
        table.touched = Touched::default();
        table.unsure.settle(snapshot);
        let mut active: Vec<Activated> = table.held.drain(..).collect();
        for rule in &mut active {
            rule.from = commit_lsn;
        }
        tracing::info!(
            table = %table.watch.table,
            rows = table.seeded_rows,
            rules = active.len(),
            from = %commit_lsn,
            "the shadow of old values is complete; the rules that need it are active"
        );
        let indexes = active.iter().map(|rule| rule.index).collect();
        self.activated.append(&mut active);
        indexes
    }
}
