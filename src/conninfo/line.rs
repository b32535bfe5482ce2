//! The connection below a session: it has a deadline for each answer.
//!
//! A connection can fall silent without an error: a network that swallows, a server that
//! is frozen. A statement that is not answered in time therefore ends its connection, and
//! so does one whose caller has gone away meanwhile, as its answer would come before that
//! of the next. Either is cancelled on the server, over a connection of its own.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_postgres::{AsyncMessage, CancelToken, Connection, Error, Notification};

use super::MakeTls;
use super::monitor::Pending;

/// How long a request to cancel a statement may take.
const CANCEL_LIMIT: Duration = Duration::from_secs(5);

/// Notifications that wait to be read; a session that does not listen has none.
const NOTIFICATIONS: usize = 64;

/// The connection below a session.
pub(super) struct Line {
    /// Where it leads, for the log.
    to: String,
    /// Milliseconds.
    deadline: AtomicU64,
    lost: AtomicBool,
    driver: AbortHandle,
    cancel: CancelToken,
    tls: MakeTls,
    pending: Arc<Pending>,
}

/// What a statement waits for.
type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

impl Line {
    /// Lets the connection run on a task of its own until the line is dropped. Notifications
    /// arrive by the receiver, which may be dropped.
    pub(super) fn start<S, T>(
        session: &tokio_postgres::Client,
        connection: Connection<S, T>,
        to: String,
        deadline: Duration,
        tls: MakeTls,
        pending: Arc<Pending>,
    ) -> (Self, mpsc::Receiver<Notification>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (heard, notifications) = mpsc::channel(NOTIFICATIONS);
        let driver = tokio::spawn(drive(connection, heard)).abort_handle();
        let line = Line {
            to,
            deadline: AtomicU64::default(),
            lost: AtomicBool::new(false),
            driver,
            cancel: session.cancel_token(),
            tls,
            pending,
        };
        line.set_deadline(deadline);
        (line, notifications)
    }

    /// Where it leads.
    pub(super) fn to(&self) -> &str {
        &self.to
    }

    /// Whether it was ended, as an answer did not come or was not waited for.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Waits for an answer until the deadline.
    ///
    /// On the heap: futures of statements are large, and callers hold many within another.
    pub(super) async fn answer<T>(&self, answer: Answer<'_, T>) -> Result<T, Error> {
        let deadline = Duration::from_millis(self.deadline.load(Ordering::Relaxed));
        self.answer_within(deadline, answer).await
    }

    pub(super) async fn answer_within<T>(
        &self,
        deadline: Duration,
        answer: Answer<'_, T>,
    ) -> Result<T, Error> {
        let mut unanswered = Unanswered {
            line: Some(self),
            began: Instant::now(),
        };
        self.pending.begin();
        let answered = match tokio::time::timeout(deadline, answer).await {
            Ok(answered) => answered,
            Err(_) => {
                let seconds = deadline.as_secs();
                let why = anyhow::anyhow!("no answer from {} within {seconds} s", self.to);
                unanswered.give_up(Some(&why));
                // The only way to make this error. The synchronous client, which is of the
                // same makers and release, depends on it.
                return Err(Error::__private_api_timeout());
            }
        };
        match &answered {
            Err(error) if error.is_closed() => {
                let why = anyhow::anyhow!("the connection to {} has ended", self.to);
                unanswered.give_up(Some(&why));
            }
            Ok(_) | Err(_) => {
                unanswered.line = None;
                self.pending.answered();
            }
        }
        answered
    }

    pub(super) fn set_deadline(&self, deadline: Duration) {
        self.pending.set_deadline(deadline);
        let deadline = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        self.deadline.store(deadline, Ordering::Relaxed);
    }

    /// Ends the connection and what the server does for it.
    fn end(&self) {
        if self.lost.swap(true, Ordering::Relaxed) {
            return;
        }
        self.driver.abort();
        let (cancel, tls) = (self.cancel.clone(), self.tls.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let cancelling = cancel.cancel_query(tls);
                match tokio::time::timeout(CANCEL_LIMIT, cancelling).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!(%error, "cannot cancel a statement"),
                    Err(_) => tracing::debug!("cannot cancel a statement: no answer"),
                }
            });
        }
    }
}

/// How long a connection whose client is gone may take to say good-bye.
const PARTING: Duration = Duration::from_secs(5);

/// A rollback whose caller has gone may still be under way, on a connection that has fallen
/// silent.
impl Drop for Line {
    fn drop(&mut self) {
        let driver = self.driver.clone();
        if driver.is_finished() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(PARTING).await;
                driver.abort();
            });
        }
    }
}

/// Ends its connection when it is dropped before the answer came.
struct Unanswered<'a> {
    line: Option<&'a Line>,
    began: Instant,
}

impl Unanswered<'_> {
    fn give_up(&mut self, why: Option<&anyhow::Error>) {
        if let Some(line) = self.line.take() {
            line.pending.given_up(self.began, why);
            line.end();
        }
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.give_up(None);
    }
}

/// Moves messages until the connection ends.
async fn drive<S, T>(mut connection: Connection<S, T>, heard: mpsc::Sender<Notification>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
        match message {
            // A session that does not listen keeps none.
            Ok(AsyncMessage::Notification(notification)) if !heard.is_closed() => {
                let _ = heard.send(notification).await;
            }
            Ok(_) => {}
            // The caller of the next statement meets the failure and handles it.
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::debug!(error, "a connection to PostgreSQL ended");
                return;
            }
        }
    }
}
