//! Random histories of one node, its store and other leaders, against what [`Offered`] promises.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Row {
    /// As its owner has it in memory.
    Ours,
    /// In the schedule: a claim will send it.
    Scheduled,
    Delivered,
    /// Another node's, which leads.
    Others,
}

struct Group {
    number: u64,
    ids: Vec<u128>,
}

struct Write {
    groups: Vec<Group>,
    results: BTreeSet<u128>,
    /// Its session has ended since, and it had committed or never will.
    ended: Option<bool>,
}

/// One node, its store, and the other nodes that may lead.
#[derive(Default)]
pub(super) struct World {
    offered: Offered,
    /// What is durable of the stream, and what was taken of it.
    progress: u128,
    reached: u128,
    groups: VecDeque<Group>,
    writing: Option<Write>,
    /// In lanes or being sent.
    in_lanes: BTreeSet<u128>,
    rows: BTreeMap<u128, Row>,
    leads: bool,
    /// Another leads, and this one knows.
    is_deposed: bool,
    /// How often each was sent by this process since it started.
    sent: BTreeMap<u128, usize>,
    /// These were known for longer than a minute after their session's end.
    forgotten: BTreeSet<u128>,
    elapsed: Duration,
}

impl World {
    fn now(&self) -> Instant {
        // The same clock as that of `settle`, and ahead of it.
        Instant::now() + self.elapsed
    }

    pub(super) fn step(&mut self, step: Step) {
        match step {
            Step::Offer(count) => self.offer(count),
            Step::Settle(which, ended) => self.settle(which, ended),
            Step::BeginWrite(count) => self.begin_write(count),
            Step::EndWrite(end) => self.end_write(end),
            Step::EndSession(committed) => self.end_session(committed),
            Step::OtherLeads(count, committed) => self.other_leads(count, committed),
            Step::LeadAgain => self.lead(),
            Step::Wait => {
                self.elapsed += ORPHANED;
                let known = self.offered.lock();
                let orphans = known.entries.iter();
                let orphans =
                    orphans.filter(|(_, entry)| !matches!(entry.written_by, WrittenBy::Group(_)));
                self.forgotten.extend(orphans.map(|(id, _)| id.0.as_u128()));
            }
            Step::Restart => self.restart(),
        }
    }

    fn offer(&mut self, count: usize) {
        if !self.leads {
            return;
        }
        let ids: Vec<u128> = (self.reached..self.reached + count as u128).collect();
        self.reached += count as u128;
        let now = self.now();
        let left_over = self.offered.left_over(ids.iter().copied().map(id), now);
        for number in &ids {
            assert!(
                !self.rows.contains_key(number),
                "{number} is durable, and is offered"
            );
            if !left_over.contains(&id(*number)) {
                assert!(
                    self.forgotten.contains(number) || !self.in_lanes.contains(number),
                    "{number} is sent twice at once"
                );
                self.in_lanes.insert(*number);
            }
        }
        let group = self.offered.offer(ids.iter().copied().map(id), now);
        self.groups.push_back(Group { number: group, ids });
    }

    fn settle(&mut self, which: usize, ended: Ended) {
        let Some(number) = chosen(&self.in_lanes, which) else {
            return;
        };
        self.in_lanes.remove(&number);
        let transition = match (self.offered.is_disowned(id(number)), ended) {
            (true, _) => Transition::Released {
                delay: Duration::ZERO,
            },
            (false, Ended::Success) => Transition::Delivered,
            (false, Ended::Failure) => Transition::Retry {
                delay: Duration::ZERO,
            },
        };
        if !matches!(transition, Transition::Released { .. }) {
            *self.sent.entry(number).or_default() += 1;
        }
        if let Some(record) = self.offered.settle(record(id(number), transition)) {
            self.record(number, record.transition);
        }
    }

    /// The recorder, which finds the row.
    fn record(&mut self, number: u128, transition: Transition) {
        match self.rows.get_mut(&number) {
            // Another instance's by now, or in the schedule: a result of this one changes nothing.
            Some(Row::Others | Row::Scheduled | Row::Delivered) => {}
            Some(row @ Row::Ours) => {
                *row = match transition {
                    Transition::Delivered => Row::Delivered,
                    _ => Row::Scheduled,
                }
            }
            None => assert!(
                self.forgotten.contains(&number),
                "the recorder has a result of {number}, which has no row"
            ),
        }
    }

    fn begin_write(&mut self, count: usize) {
        if self.writing.is_some() || self.groups.is_empty() {
            return;
        }
        let count = count.clamp(1, self.groups.len());
        let groups: Vec<Group> = self.groups.drain(..count).collect();
        let all: Vec<u128> = groups.iter().flat_map(|group| group.ids.clone()).collect();
        let taken = self.offered.take_delivered(all.iter().copied().map(id));
        let results = all.iter().zip(&taken);
        let results = results.filter(|(_, taken)| taken.is_some());
        self.writing = Some(Write {
            results: results.map(|(number, _)| *number).collect(),
            groups,
            ended: None,
        });
    }

    fn end_write(&mut self, end: End) {
        let Some(write) = self.writing.take() else {
            return;
        };
        let end = match write.ended {
            Some(true) => End::Committed,
            Some(false) => End::Failed,
            None => {
                if !matches!(end, End::Failed) {
                    self.store(&write, end);
                }
                end
            }
        };
        let now = self.now();
        for group in write.groups {
            let ids = group.ids.iter().copied().map(id);
            if !matches!(end, End::Committed) {
                self.offered.orphan(group.number, ids, now);
                continue;
            }
            for record in self.offered.written(group.number, ids) {
                let number = record.delivery.id.0.as_u128();
                self.record(number, record.transition);
            }
        }
        if !matches!(end, End::Committed) && write.ended.is_none() {
            self.end_session(false);
        }
    }

    fn store(&mut self, write: &Write, end: End) {
        for number in write.groups.iter().flat_map(|group| &group.ids) {
            let row = match (write.results.contains(number), end) {
                (true, _) => Row::Delivered,
                (false, End::Unconfirmed) => Row::Scheduled,
                (false, _) => Row::Ours,
            };
            assert!(self.rows.insert(*number, row).is_none());
            self.progress = self.progress.max(number + 1);
        }
    }

    fn end_session(&mut self, committed: bool) {
        if !self.leads {
            return;
        }
        self.leave(committed);
        self.lead();
    }

    /// The next leader ends the session's connection before it reads how far the store is.
    fn leave(&mut self, committed: bool) {
        let now = self.now();
        for group in self.groups.drain(..) {
            let ids = group.ids.iter().copied().map(id);
            self.offered.orphan(group.number, ids, now);
        }
        if let Some(mut write) = self.writing.take() {
            if write.ended.is_none() {
                write.ended = Some(committed);
                if committed {
                    self.store(&write, End::Committed);
                }
            }
            self.writing = Some(write);
        }
        self.leads = false;
    }

    pub(super) fn lead(&mut self) {
        if self.leads {
            return;
        }
        self.leads = true;
        self.is_deposed = false;
        self.reached = self.progress;
        self.offered.begin_session();
    }

    fn other_leads(&mut self, count: usize, committed: bool) {
        if self.leads {
            self.leave(committed);
            self.offered.disown();
            self.is_deposed = true;
        }
        // What of this one's was under way has been ended.
        for number in self.progress..self.progress + count as u128 {
            self.rows.insert(number, Row::Others);
        }
        self.progress += count as u128;
    }

    fn restart(&mut self) {
        // Its peers, or it itself at its start, give what it had to the schedule.
        for row in self.rows.values_mut() {
            if *row == Row::Ours {
                *row = Row::Scheduled;
            }
        }
        let (rows, progress) = (std::mem::take(&mut self.rows), self.progress);
        *self = World {
            rows,
            progress,
            ..World::default()
        };
        self.lead();
    }

    /// What holds at any time.
    pub(super) fn check(&self) {
        for (number, row) in &self.rows {
            let is_known = self.in_lanes.contains(number) || self.offered.is_known(id(*number));
            assert!(
                *row != Row::Ours || is_known,
                "the store says that this node has {number}, and it has not"
            );
        }
        for (number, times) in &self.sent {
            assert!(
                self.forgotten.contains(number) || *times == 1,
                "{number} was sent {times} times"
            );
        }
        let known = self.offered.lock();
        let is_orphan = |entry: &Entry| matches!(entry.written_by, WrittenBy::Orphaned { .. });
        assert!(
            !self.is_deposed || !known.entries.values().any(is_orphan),
            "another leads, and this one would still send what is that one's"
        );
        let left_over = known
            .entries
            .values()
            .filter(|entry| match entry.written_by {
                WrittenBy::Group(group) => group <= known.ended,
                WrittenBy::Orphaned { .. } | WrittenBy::Disowned { .. } => true,
            });
        assert!(known.left_over >= left_over.count());
    }

    /// Everything comes to its end: nothing stays here, and every row has been sent or will be.
    pub(super) fn finish(mut self) {
        self.end_write(End::Committed);
        self.lead();
        while let Some(number) = chosen(&self.in_lanes, 0) {
            self.settle(0, Ended::Success);
            assert!(!self.in_lanes.contains(&number));
        }
        self.offer(20);
        while let Some(number) = chosen(&self.in_lanes, 0) {
            self.settle(0, Ended::Success);
            assert!(!self.in_lanes.contains(&number));
        }
        while !self.groups.is_empty() {
            self.begin_write(1);
            self.end_write(End::Committed);
            self.check();
        }
        assert!(self.offered.lock().groups.is_empty());
        assert!(!self.rows.values().any(|row| *row == Row::Ours));
        let rows = self.rows.keys().copied();
        assert!(rows.eq(0..self.progress), "a delivery has no row");
        // Orphans that the WAL brought to somebody else.
        self.elapsed += ORPHANED * 2;
        self.offered.left_over(std::iter::empty(), self.now());
        assert_eq!(self.offered.len(), 0);
    }
}

impl Offered {
    fn is_known(&self, id: DeliveryId) -> bool {
        self.lock().entries.contains_key(&id)
    }
}

fn chosen(among: &BTreeSet<u128>, which: usize) -> Option<u128> {
    let at = which.checked_rem(among.len())?;
    among.iter().nth(at).copied()
}
