//! A session with PostgreSQL whose every statement has a deadline.
//!
//! A connection can fall silent without an error: a network that swallows, a server that
//! is frozen. A statement that is not answered in time therefore ends its connection, and
//! so does one whose caller has gone away meanwhile, as its answer would come before that
//! of the next. Either is cancelled on the server, over a connection of its own.

use std::collections::HashMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{
    AsyncMessage, CancelToken, Connection, CopyInSink, Error, IsolationLevel, Notification, Row,
    SimpleQueryMessage, Statement, ToStatement,
};

use super::MakeTls;
use super::monitor::Pending;
use super::purpose::GRACE;
use crate::duration::milliseconds;

/// How long a request to cancel a statement may take.
const CANCEL_LIMIT: Duration = Duration::from_secs(5);

/// Notifications that wait to be read; a session that does not listen has none.
const NOTIFICATIONS: usize = 64;

/// A session. Queries may be sent side by side; answers come in the order of the queries.
pub struct Client {
    session: tokio_postgres::Client,
    line: Line,
    /// Prepared by their text, for sessions that many callers share.
    prepared: Mutex<HashMap<&'static str, Statement>>,
}

/// Shows where it leads.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.line.to).finish()
    }
}

/// A transaction, rolled back unless it is committed.
pub struct Transaction<'a> {
    transaction: tokio_postgres::Transaction<'a>,
    line: &'a Line,
    prepared: &'a Mutex<HashMap<&'static str, Statement>>,
}

/// Sends queries: a session, or a transaction in it.
pub trait Queries {
    fn query<T: ?Sized + ToStatement + Sync>(
        &self,
        statement: &T,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> impl Future<Output = Result<Vec<Row>, Error>> + Send;

    fn query_one<T: ?Sized + ToStatement + Sync>(
        &self,
        statement: &T,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> impl Future<Output = Result<Row, Error>> + Send;

    fn query_opt<T: ?Sized + ToStatement + Sync>(
        &self,
        statement: &T,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> impl Future<Output = Result<Option<Row>, Error>> + Send;

    fn execute<T: ?Sized + ToStatement + Sync>(
        &self,
        statement: &T,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> impl Future<Output = Result<u64, Error>> + Send;
}

/// The connection below a session.
struct Line {
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
    /// Waits for an answer until the deadline.
    ///
    /// On the heap: futures of statements are large, and callers hold many within another.
    async fn answer<T>(&self, answer: Answer<'_, T>) -> Result<T, Error> {
        let mut unanswered = Unanswered(Some(self));
        self.pending.begin();
        let deadline = Duration::from_millis(self.deadline.load(Ordering::Relaxed));
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
                unanswered.0 = None;
                self.pending.answered();
            }
        }
        answered
    }

    fn set_deadline(&self, deadline: Duration) {
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

/// A rollback that nobody waits for may still be under way, on a connection that has fallen
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
struct Unanswered<'a>(Option<&'a Line>);

impl Unanswered<'_> {
    fn give_up(&mut self, why: Option<&anyhow::Error>) {
        if let Some(line) = self.0.take() {
            line.pending.given_up(why);
            line.end();
        }
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.give_up(None);
    }
}

impl Client {
    /// Lets the connection run on a task of its own until the client is dropped.
    /// Notifications arrive by the receiver, which may be dropped.
    pub(super) fn start<S, T>(
        session: tokio_postgres::Client,
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
        let client = Client {
            session,
            line,
            prepared: Mutex::default(),
        };
        (client, notifications)
    }

    /// Whether the connection has ended, or must not be used any more.
    pub fn is_closed(&self) -> bool {
        self.session.is_closed() || self.line.lost.load(Ordering::Relaxed)
    }

    /// Lets every statement of the session take up to `limit`.
    pub async fn limit_statements(&self, limit: Duration) -> Result<(), Error> {
        let set = format!("set statement_timeout = '{}'", milliseconds(limit));
        self.batch_execute(&set).await?;
        self.line.set_deadline(limit + GRACE);
        Ok(())
    }

    /// Runs several steps on the session, such as a COPY and the rows that it is sent,
    /// as one statement.
    pub async fn within_deadline<T>(
        &self,
        steps: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        self.line.answer(Box::pin(steps)).await
    }

    pub async fn prepare(&self, sql: &str) -> Result<Statement, Error> {
        self.line.answer(Box::pin(self.session.prepare(sql))).await
    }

    pub async fn prepare_typed(&self, sql: &str, types: &[Type]) -> Result<Statement, Error> {
        let preparing = self.session.prepare_typed(sql, types);
        self.line.answer(Box::pin(preparing)).await
    }

    /// Prepares a statement once a session.
    pub async fn prepare_cached(&self, sql: &'static str) -> Result<Statement, Error> {
        cached(&self.prepared, sql, self.prepare(sql)).await
    }

    pub async fn query<T: ?Sized + ToStatement + Sync>(
        &self,
        statement: &T,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let answer = self.session.query(statement, parameters);
        self.line.answer(Box::pin(answer)).await
    }

    pub async fn query_one<T: ?Sized + ToStatement + Sync>(
        &self,
        statement: &T,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, Error> {
        let answer = self.session.query_one(statement, parameters);
        self.line.answer(Box::pin(answer)).await
    }

    pub async fn query_opt<T: ?Sized + ToStatement + Sync>(
        &self,
        statement: &T,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Error> {
        let answer = self.session.query_opt(statement, parameters);
        self.line.answer(Box::pin(answer)).await
    }

    pub async fn execute<T: ?Sized + ToStatement + Sync>(
        &self,
        statement: &T,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        let answer = self.session.execute(statement, parameters);
        self.line.answer(Box::pin(answer)).await
    }

    pub async fn simple_query(&self, sql: &str) -> Result<Vec<SimpleQueryMessage>, Error> {
        self.line
            .answer(Box::pin(self.session.simple_query(sql)))
            .await
    }

    pub async fn batch_execute(&self, sql: &str) -> Result<(), Error> {
        self.line
            .answer(Box::pin(self.session.batch_execute(sql)))
            .await
    }

    /// Begins a COPY. What follows belongs into [`Client::within_deadline`].
    pub async fn copy_in<T, U>(&self, statement: &T) -> Result<CopyInSink<U>, Error>
    where
        T: ?Sized + ToStatement + Sync,
        U: bytes::Buf + 'static + Send,
    {
        self.line
            .answer(Box::pin(self.session.copy_in(statement)))
            .await
    }

    pub async fn transaction(&mut self) -> Result<Transaction<'_>, Error> {
        let transaction = self
            .line
            .answer(Box::pin(self.session.transaction()))
            .await?;
        Ok(Transaction {
            transaction,
            line: &self.line,
            prepared: &self.prepared,
        })
    }

    /// A transaction that reads one snapshot, and writes nothing.
    pub async fn snapshot(&mut self) -> Result<Transaction<'_>, Error> {
        let beginning = self
            .session
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true)
            .start();
        let transaction = self.line.answer(Box::pin(beginning)).await?;
        Ok(Transaction {
            transaction,
            line: &self.line,
            prepared: &self.prepared,
        })
    }
}

impl Transaction<'_> {
    pub async fn commit(self) -> Result<(), Error> {
        self.line.answer(Box::pin(self.transaction.commit())).await
    }

    pub async fn rollback(self) -> Result<(), Error> {
        self.line
            .answer(Box::pin(self.transaction.rollback()))
            .await
    }

    pub async fn prepare(&self, sql: &str) -> Result<Statement, Error> {
        self.line
            .answer(Box::pin(self.transaction.prepare(sql)))
            .await
    }

    /// Prepares a statement once a session.
    pub async fn prepare_cached(&self, sql: &'static str) -> Result<Statement, Error> {
        cached(self.prepared, sql, self.prepare(sql)).await
    }

    pub async fn query<T: ?Sized + ToStatement + Sync>(
        &self,
        statement: &T,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let answer = self.transaction.query(statement, parameters);
        self.line.answer(Box::pin(answer)).await
    }

    pub async fn query_one<T: ?Sized + ToStatement + Sync>(
        &self,
        statement: &T,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, Error> {
        let answer = self.transaction.query_one(statement, parameters);
        self.line.answer(Box::pin(answer)).await
    }

    pub async fn query_opt<T: ?Sized + ToStatement + Sync>(
        &self,
        statement: &T,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Error> {
        let answer = self.transaction.query_opt(statement, parameters);
        self.line.answer(Box::pin(answer)).await
    }

    pub async fn execute<T: ?Sized + ToStatement + Sync>(
        &self,
        statement: &T,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        let answer = self.transaction.execute(statement, parameters);
        self.line.answer(Box::pin(answer)).await
    }

    pub async fn batch_execute(&self, sql: &str) -> Result<(), Error> {
        self.line
            .answer(Box::pin(self.transaction.batch_execute(sql)))
            .await
    }
}

impl Queries for Client {
    async fn query<T: ?Sized + ToStatement + Sync>(
        &self,
        statement: &T,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.query(statement, parameters).await
    }

    async fn query_one<T: ?Sized + ToStatement + Sync>(
        &self,
        statement: &T,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, Error> {
        self.query_one(statement, parameters).await
    }

    async fn query_opt<T: ?Sized + ToStatement + Sync>(
        &self,
        statement: &T,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Error> {
        self.query_opt(statement, parameters).await
    }

    async fn execute<T: ?Sized + ToStatement + Sync>(
        &self,
        statement: &T,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        self.execute(statement, parameters).await
    }
}

impl Queries for Transaction<'_> {
    async fn query<T: ?Sized + ToStatement + Sync>(
        &self,
        statement: &T,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.query(statement, parameters).await
    }

    async fn query_one<T: ?Sized + ToStatement + Sync>(
        &self,
        statement: &T,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, Error> {
        self.query_one(statement, parameters).await
    }

    async fn query_opt<T: ?Sized + ToStatement + Sync>(
        &self,
        statement: &T,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Error> {
        self.query_opt(statement, parameters).await
    }

    async fn execute<T: ?Sized + ToStatement + Sync>(
        &self,
        statement: &T,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        self.execute(statement, parameters).await
    }
}

async fn cached(
    prepared: &Mutex<HashMap<&'static str, Statement>>,
    sql: &'static str,
    prepare: impl Future<Output = Result<Statement, Error>>,
) -> Result<Statement, Error> {
    let known = |sql| {
        let prepared = prepared.lock().unwrap_or_else(PoisonError::into_inner);
        prepared.get(sql).cloned()
    };
    if let Some(statement) = known(sql) {
        return Ok(statement);
    }
    let statement = prepare.await?;
    let mut prepared = prepared.lock().unwrap_or_else(PoisonError::into_inner);
    prepared.insert(sql, statement.clone());
    Ok(statement)
}

/// Moves messages until the connection ends.
async fn drive<S, T>(mut connection: Connection<S, T>, heard: mpsc::Sender<Notification>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
        match message {
            // A session that nobody listens on keeps none.
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
