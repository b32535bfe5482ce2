//! What a connection does: whether a request or an answer is under way, and when it has been idle or
//! stalled for too long.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// How soon a new connection sends its first request, head complete.
const FIRST_REQUEST: Duration = Duration::from_secs(15);
/// How long a connection is kept without a request: longer than the 60 s after which common
/// load balancers close an idle connection, so that it is not closed under a request.
const IDLE: Duration = Duration::from_secs(65);
/// How long nothing more of an answer may be taken. Streams have something to send more often.
const STALLED: Duration = Duration::from_secs(60);

/// What a connection does.
pub(super) struct Activity {
    /// To make room for another connection.
    pub(super) close: CancellationToken,
    state: Mutex<State>,
}

struct State {
    /// Requests whose answers have not begun.
    asked: usize,
    /// Answers of which not all is sent.
    answered: usize,
    /// When the last answer ended, or more of one was taken; before the first, when it connected.
    since: Instant,
    has_asked: bool,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Activity {
            close: CancellationToken::new(),
            state: Mutex::new(State {
                asked: 0,
                answered: 0,
                since: Instant::now(),
                has_asked: false,
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None where a request is in progress.
    pub(super) fn asks_nothing_since(&self) -> Option<Instant> {
        let state = self.state();
        (state.asked + state.answered == 0).then_some(state.since)
    }

    pub(super) fn ask(self: &Arc<Self>) -> Asked {
        let mut state = self.state();
        state.asked += 1;
        state.has_asked = true;
        Asked(Arc::clone(self))
    }

    pub(super) fn answer(self: &Arc<Self>, body: Body) -> Answer {
        let mut state = self.state();
        state.answered += 1;
        state.since = Instant::now();
        Answer {
            body,
            activity: Arc::clone(self),
        }
    }

    /// Returns when it has asked for nothing for too long, takes nothing more of an answer, or is
    /// to make room.
    pub(super) async fn is_over(&self) {
        loop {
            let until = {
                let state = self.state();
                match *state {
                    State { asked: 1.., .. } => Instant::now() + IDLE,
                    State { answered: 1.., .. } => state.since + STALLED,
                    State {
                        has_asked: false, ..
                    } => state.since + FIRST_REQUEST,
                    State {
                        has_asked: true, ..
                    } => state.since + IDLE,
                }
            };
            if until <= Instant::now() {
                return;
            }
            let closing = self.close.cancelled();
            if timeout(until.duration_since(Instant::now()), closing)
                .await
                .is_ok()
            {
                return;
            }
        }
    }
}

/// A request whose answer has not begun.
pub(super) struct Asked(Arc<Activity>);

impl Drop for Asked {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.asked -= 1;
        state.since = Instant::now();
    }
}

/// An answer's body: part after part is taken of it, as fast as the peer reads.
pub(super) struct Answer {
    body: Body,
    activity: Arc<Activity>,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.activity.state().since = Instant::now();
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        state.answered -= 1;
        state.since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is_over_within(activity: &Arc<Activity>, time: Duration) -> bool {
        timeout(time, activity.is_over()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_which_nothing_more_is_taken_ends_its_connection() {
        const SECOND: Duration = Duration::from_secs(1);
        let activity = Activity::new();
        let asked = activity.ask();
        assert!(!is_over_within(&activity, 10 * STALLED).await);
        let mut answer = activity.answer(Body::from_stream(futures_util::stream::pending::<
            Result<Bytes, axum::Error>,
        >()));
        drop(asked);
        assert!(activity.asks_nothing_since().is_none());
        // Longer than a connection is kept without a request: as it is taken of, it stays.
        for _ in 0..10 {
            let taken = std::future::poll_fn(|context| {
                assert!(Pin::new(&mut answer).poll_frame(context).is_pending());
                Poll::Ready(())
            });
            taken.await;
            assert!(!is_over_within(&activity, STALLED - SECOND).await);
        }
        assert!(is_over_within(&activity, 2 * SECOND).await);
        drop(answer);
        assert!(activity.asks_nothing_since().is_some());
    }
}
