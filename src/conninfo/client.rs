//! A session with PostgreSQL whose every statement has a deadline: `tokio_postgres`'s client,
//! each call of which waits on the connection's [`Line`].

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{
    CopyInSink, Error, IsolationLevel, Row, SimpleQueryMessage, Statement, ToStatement,
};

use super::line::Line;
use super::purpose::GRACE;
use crate::duration::milliseconds;

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
        f.debug_tuple("Client").field(&self.line.to()).finish()
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

impl Client {
    /// `line` is the connection that `session` speaks over.
    pub(super) fn over(session: tokio_postgres::Client, line: Line) -> Self {
        Client {
            session,
            line,
            prepared: Mutex::default(),
        }
    }

    /// Whether the connection has ended, or must not be used any more.
    pub fn is_closed(&self) -> bool {
        self.session.is_closed() || self.line.is_lost()
    }

    /// Whether the server still answers, asked with an empty statement. A session that does
    /// not answer within `limit` is ended.
    pub async fn still_answers(&self, limit: Duration) -> bool {
        let asking = Box::pin(self.session.batch_execute(""));
        self.line.answer_within(limit, asking).await.is_ok()
    }

    /// Lets every statement of the session take up to `limit`.
    pub async fn limit_statements(&self, limit: Duration) -> Result<(), Error> {
        let set = format!("set statement_timeout = '{}'", milliseconds(limit));
        self.batch_execute(&set).await?;
        self.line.set_deadline(limit + GRACE);
        Ok(())
    }

    /// Lets statements wait for a lock no longer than 10 s: what is asked for after them waits
    /// behind them.
    pub async fn limit_lock_wait(&self) -> Result<(), Error> {
        self.batch_execute("set lock_timeout = '10s'").await
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
