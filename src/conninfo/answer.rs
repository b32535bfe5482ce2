//! What a server returns, read without trust in its form.

use std::fmt::Display;

use anyhow::Context;
use tokio_postgres::Row;
use tokio_postgres::row::RowIndex;
use tokio_postgres::types::FromSql;

/// A column of what the source returned. A server that is not quite PostgreSQL, or a column
/// that a later release makes another type of, is an error with its name and not a panic.
pub fn column<'a, T, I>(row: &'a Row, name: I) -> anyhow::Result<T>
where
    T: FromSql<'a>,
    I: RowIndex + Display,
{
    row.try_get(&name)
        .with_context(|| format!("the server's answer is odd at its column `{name}`"))
}
