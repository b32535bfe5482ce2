use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;
use crate::delivery::Delivery;
use crate::event::{EventId, SubscriptionId};
use crate::subscription::Format;
use jiff::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

fn id(number: u128) -> DeliveryId {
    DeliveryId(Uuid::from_u128(number))
}

fn record(id: DeliveryId, transition: Transition) -> Record {
    let delivery = Delivery {
        id,
        event_id: EventId::random(Timestamp::UNIX_EPOCH),
        subscription_id: SubscriptionId(Uuid::nil()),
        event_type: "t".into(),
        format: Format::Standard,
        body: bytes::Bytes::new(),
        attempts: 1,
        occurred_at: Timestamp::UNIX_EPOCH,
        queued_at: Instant::now(),
        hold: Hold::Owned,
        of_stream: true,
        batch: None,
    };
    Record::unattempted(delivery, transition)
}

/// Others have as much in flight as may be, but its own have their turns: one that is
/// slow is not waited for on their account.
#[test]
fn a_group_that_is_being_sent_is_judged_by_its_own_results() {
    let offered = Offered::default();
    let ids = [1, 2].map(id);
    let group = offered.offer(ids.into_iter(), Instant::now());
    let busy = Instant::now() + Duration::from_secs(1);
    offered.say_busy(busy);
    let last_result = || offered.results(group).unwrap().last_result;
    assert_eq!(last_result(), busy);
    let delivered = record(ids[0], Transition::Delivered);
    assert!(offered.settle(delivered).is_none());
    assert!(last_result() < busy);
    let taken = offered.take_delivered(ids.into_iter());
    assert_eq!(
        taken.iter().map(Option::is_some).collect::<Vec<_>>(),
        [true, false]
    );
}

#[test]
fn a_group_is_not_quiet_while_nothing_more_can_be_sent() {
    let offered = Offered::default();
    let group = offered.offer(std::iter::once(id(1)), Instant::now());
    let last_result = || offered.results(group).unwrap().last_result;
    let offered_at = last_result();
    let busy = offered_at + Duration::from_secs(1);
    offered.say_busy(busy);
    assert_eq!(last_result(), busy);
}

/// What may happen, in any order. Numbers choose among what there is, by their remainder.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The stream brings the next so many deliveries, which are offered as one group.
    Offer(usize),
    /// An attempt ends.
    Settle(usize, Ended),
    /// The first so many groups are being written.
    BeginWrite(usize),
    EndWrite(End),
    /// The session ends, with or without a write under way, and the next one begins. That write may
    /// have committed by then, which is heard of later.
    EndSession(bool),
    /// Another leads and takes what the WAL brings from where the store stands.
    OtherLeads(usize, bool),
    LeadAgain,
    /// A minute groups.
    Wait,
    /// The process is killed and starts.
    Restart,
}

#[derive(Clone, Copy, Debug)]
enum Ended {
    Success,
    Failure,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Committed,
    Failed,
    /// It committed, and the answer was lost.
    Unconfirmed,
}

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

/// One node, its store, and whoever else leads.
#[derive(Default)]
struct World {
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

    fn step(&mut self, step: Step) {
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
            // Another's, or nobody's claim, as its own owner let go of it.
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

    fn lead(&mut self) {
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
    fn check(&self) {
        for (number, row) in &self.rows {
            let is_known = self.in_lanes.contains(number) || self.offered.is_known(id(*number));
            assert!(
                *row != Row::Ours || is_known,
                "the store says that we have {number}, and nobody here does"
            );
        }
        for (number, times) in &self.sent {
            assert!(
                self.forgotten.contains(number) || *times == 1,
                "{number} was sent {times} times"
            );
        }
        let known = self.offered.lock();
        let is_nobodys = |entry: &Entry| matches!(entry.written_by, WrittenBy::Nobody { .. });
        assert!(
            !self.is_deposed || !known.entries.values().any(is_nobodys),
            "another leads, and this one would still send what is that one's"
        );
        let left_over = known
            .entries
            .values()
            .filter(|entry| match entry.written_by {
                WrittenBy::Group(group) => group <= known.ended,
                WrittenBy::Nobody { .. } | WrittenBy::Another { .. } => true,
            });
        assert!(known.left_over >= left_over.count());
    }

    /// Everything comes to its end: nothing stays here, and every row has been sent or will be.
    fn finish(mut self) {
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

fn step() -> impl Strategy<Value = Step> {
    let ended = prop_oneof![3 => Just(Ended::Success), 1 => Just(Ended::Failure)];
    let end = prop_oneof![
        4 => Just(End::Committed),
        1 => Just(End::Failed),
        1 => Just(End::Unconfirmed)
    ];
    prop_oneof![
        6 => (1..5_usize).prop_map(Step::Offer),
        12 => (any::<usize>(), ended).prop_map(|(which, ended)| Step::Settle(which, ended)),
        4 => (1..4_usize).prop_map(Step::BeginWrite),
        4 => end.prop_map(Step::EndWrite),
        1 => any::<bool>().prop_map(Step::EndSession),
        1 => (0..4_usize, any::<bool>()).prop_map(|(count, committed)| Step::OtherLeads(count, committed)),
        2 => Just(Step::LeadAgain),
        1 => Just(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn nothing_offered_is_lost_or_sent_twice_whatever_happens(
        steps in prop::collection::vec(step(), 1..60)
    ) {
        let mut world = World::default();
        world.lead();
        for step in steps {
            world.step(step);
            world.check();
        }
        world.finish();
    }
}
