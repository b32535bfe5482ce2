use super::*;
use crate::delivery::Delivery;
use crate::delivery::cause::Cause;
use crate::event::{EventId, SubscriptionId};
use crate::subscription::Format;
use jiff::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

mod model;

use model::World;

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
        cause: Cause::default(),
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
    /// have committed by then, and its answer comes later.
    EndSession(bool),
    /// Another leads and takes what the WAL brings from the store's progress on.
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
