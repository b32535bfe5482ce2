//! The tasks that carry attempts. They are kept for the next ones: to begin and to end a
//! task costs an allocation of several KiB and the moving of as much.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::Dispatcher;
use super::place::Place;
use crate::delivery::Delivery;
use crate::delivery::lanes::Picked;
use crate::delivery::recorder::Entry;

/// A delivery that is to be sent.
pub(super) type Job = (Delivery, Place);

/// Tasks that may wait for work: half of the default `delivery.concurrency`, as a burst
/// seldom needs more at once.
const KEPT: usize = 256;

pub(super) struct Workers {
    state: Mutex<State>,
    /// A permit for each job that was handed over.
    called: Semaphore,
}

#[derive(Default)]
struct State {
    /// Tasks that wait, those for which there is a job by now among them.
    idle: usize,
    handed_over: VecDeque<Job>,
    closed: bool,
}

impl Workers {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Workers {
            state: Mutex::default(),
            called: Semaphore::new(0),
        })
    }

    /// Gives the job to a task that waits, or else to a new one.
    pub(super) fn start(self: &Arc<Self>, job: Job, tasks: &TaskTracker, runtime: &Handle) {
        let mut state = self.lock();
        if !state.closed && state.idle > state.handed_over.len() {
            state.handed_over.push_back(job);
            drop(state);
            self.called.add_permits(1);
            return;
        }
        drop(state);
        tasks.spawn_on(Arc::clone(self).run(job), runtime);
    }

    /// Ends the tasks that wait; no more are kept.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.called.close();
    }

    async fn run(self: Arc<Self>, job: Job) {
        let mut next = Some(job);
        while let Some((delivery, place)) = next {
            // Of the place: one that waits must not keep the dispatcher from its end.
            let dispatcher = Arc::clone(&place.dispatcher);
            dispatcher.work(delivery, place).await;
            drop(dispatcher);
            next = self.next().await;
        }
    }

    /// None where the task is not to be kept.
    async fn next(&self) -> Option<Job> {
        {
            let mut state = self.lock();
            if state.closed || state.idle >= KEPT {
                return None;
            }
            state.idle += 1;
        }
        // An error says that it was closed: there may be a job still.
        if let Ok(permit) = self.called.acquire().await {
            permit.forget();
        }
        let mut state = self.lock();
        state.idle -= 1;
        state.handed_over.pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dispatcher {
    /// Starts attempts until the lanes give out no more.
    pub(super) fn pump(self: &Arc<Self>) {
        while let Some(job) = self.pick() {
            self.workers.start(job, &self.tasks, &self.runtime);
        }
    }

    fn pick(self: &Arc<Self>) -> Option<Job> {
        if !self.may_send() {
            return None;
        }
        let now = Instant::now();
        let (picked, signals) = {
            let mut lanes = self.lanes();
            (lanes.pick(now), lanes.take_signals())
        };
        let Picked {
            next,
            refused,
            is_busy,
        } = picked;
        if is_busy {
            self.offered.say_busy(now);
        }
        self.pass_on(signals);
        self.release(refused);
        let (delivery, ticket) = next?;
        let place = Place {
            dispatcher: Arc::clone(self),
            ticket: Some(ticket),
            success: None,
            reason: String::new(),
        };
        Some((delivery, place))
    }

    /// Sends a delivery, and then whatever the lanes give out next. Its place is free when
    /// its result is on its way to the store, not before: while the store is away nothing
    /// is sent whose result has no place to go.
    async fn work(self: &Arc<Self>, delivery: Delivery, place: Place) {
        let mut next = Some((delivery, place));
        while let Some((delivery, mut place)) = next {
            let record = self.send(delivery, &mut place).await;
            let endpoint = record.delivery.subscription_id;
            let recovered = self.health.hear(&record);
            self.record(record).await;
            if recovered {
                self.record(Entry::Recovered(endpoint)).await;
            }
            drop(place);
            next = self.pick();
            if next.is_some() {
                // A result can admit several: an endpoint that has proved itself gets more.
                self.pump();
            }
        }
    }
}
