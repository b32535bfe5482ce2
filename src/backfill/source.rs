//! How rows are read from the source: with the text that the WAL has of them.

use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use crate::conninfo::Client;

/// The simple protocol answers every value in the text of its output function, as the
/// log has it: a cast to text would write a boolean or a padded one otherwise.
pub async fn rows(client: &Client, query: &str) -> anyhow::Result<Vec<SimpleQueryRow>> {
    let answer = client.simple_query(query).await?;
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    };
    Ok(answer.into_iter().filter_map(row).collect())
}

/// A text as SQL. With `standard_conforming_strings`, only the quote is special.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
