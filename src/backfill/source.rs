//! How rows are read from the source: with the text that the WAL has of them, and
//! between messages in the WAL.

use anyhow::Context;
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use crate::capture::watermark::{MESSAGE_PREFIX, Snapshot, Watermark};
use crate::conninfo::Client;

/// Writes a watermark into the WAL, in a transaction of its own.
pub async fn emit(client: &Client, watermark: &Watermark) -> anyhow::Result<()> {
    client
        .execute(
            include_str!("../../sql/queries/db/emit_watermark.sql"),
            &[&MESSAGE_PREFIX, &watermark.content()],
        )
        .await
        .context("write a watermark into the WAL")?;
    Ok(())
}

/// What the transaction that is open sees.
pub async fn snapshot(client: &Client) -> anyhow::Result<Snapshot> {
    let answer = rows(
        client,
        include_str!("../../sql/queries/db/current_snapshot.sql"),
    )
    .await?;
    let text = answer.first().and_then(|row| row.get(0));
    text.and_then(Snapshot::parse)
        .context("the server answers no snapshot")
}

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
