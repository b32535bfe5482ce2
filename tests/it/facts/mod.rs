//! What PostgreSQL does, as walhook's design takes it for granted: each of these is a
//! fact that a decision stands on, asked of the server under test by SQL.

mod access;
mod rows;
mod session;
mod transactions;
mod unusual;

use ::walhook::conninfo::Client;
use walhook::lsn::Lsn;
use walhook::pgoutput::{Decoder, OldTuple, Operation, StreamEvent, Tuple, TupleValue};

use crate::harness::{TestDatabase, connect};

/// A database with a publication `p` and a slot, both read by SQL functions that run
/// the same decoding as a walsender does.
struct Log {
    client: Client,
    slot: String,
}

/// One message of the WAL: where it stands, and its bytes.
struct Message {
    lsn: Lsn,
    data: Vec<u8>,
}

impl Log {
    async fn of(database: &TestDatabase, tables: &str, publication: &str) -> Log {
        let client = connect(&database.url).await;
        client.batch_execute(tables).await.unwrap();
        let publish = format!("create publication p {publication}");
        client.batch_execute(&publish).await.unwrap();
        let log = Log {
            client,
            slot: database.slot(),
        };
        log.create_slot().await;
        log
    }

    async fn create_slot(&self) {
        let create = "select pg_create_logical_replication_slot($1, 'pgoutput')";
        self.client.query_one(create, &[&self.slot]).await.unwrap();
    }

    async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    /// What the slot holds from its position on; it stays there. Each call is a session.
    async fn peek(&self) -> Result<Vec<Message>, tokio_postgres::Error> {
        let peek = "select lsn, data from pg_logical_slot_peek_binary_changes($1, null, null,
            'proto_version', '1', 'publication_names', 'p')";
        let rows = self.client.query(peek, &[&self.slot]).await?;
        let message = |row: &tokio_postgres::Row| Message {
            lsn: row.get("lsn"),
            data: row.get("data"),
        };
        Ok(rows.iter().map(message).collect())
    }

    /// As `peek`, and the slot moves after it.
    async fn get(&self) -> Vec<Message> {
        let messages = self.peek().await.unwrap();
        if let Some((_, end)) = commits(&messages).last() {
            self.advance(*end).await;
        }
        messages
    }

    async fn advance(&self, to: Lsn) {
        let advance = "select pg_replication_slot_advance($1, $2)";
        let moved = self.client.query_one(advance, &[&self.slot, &to]).await;
        moved.unwrap();
    }

    /// The messages' kinds, in their order.
    async fn tags(&self) -> String {
        let messages = self.get().await;
        messages.iter().map(|m| char::from(m.data[0])).collect()
    }

    /// The changes, a line each.
    async fn changes(&self) -> Vec<String> {
        let events = decode(&self.get().await);
        events.iter().filter_map(line).collect()
    }

    async fn major(&self) -> i32 {
        let version = "select current_setting('server_version_num')::integer / 10000";
        self.client.query_one(version, &[]).await.unwrap().get(0)
    }
}

fn decode(messages: &[Message]) -> Vec<StreamEvent> {
    let mut decoder = Decoder::new();
    let mut events = Vec::new();
    for message in messages {
        decoder.decode(message.lsn, message.data.clone().into(), &mut events);
    }
    events
}

/// Of each transaction where its commit record begins and ends.
fn commits(messages: &[Message]) -> Vec<(Lsn, Lsn)> {
    let commit = |event: StreamEvent| match event {
        StreamEvent::Commit {
            commit_lsn,
            end_lsn,
        } => Some((commit_lsn, end_lsn)),
        _ => None,
    };
    decode(messages).into_iter().filter_map(commit).collect()
}

fn line(event: &StreamEvent) -> Option<String> {
    let StreamEvent::Change(change) = event else {
        return None;
    };
    let old = |old: &OldTuple| match old {
        OldTuple::Key(tuple) => format!("key({})", values(tuple)),
        OldTuple::Full(tuple) => format!("whole({})", values(tuple)),
    };
    let name = &change.relation.name;
    Some(match &change.operation {
        Operation::Insert { new } => format!("insert {name} ({})", values(new)),
        Operation::Update { old: None, new } => format!("update {name} ({})", values(new)),
        Operation::Update {
            old: Some(before),
            new,
        } => format!("update {name} {} ({})", old(before), values(new)),
        Operation::Delete { old: before } => format!("delete {name} {}", old(before)),
        Operation::Truncate => format!("truncate {name}"),
    })
}

fn values(tuple: &Tuple) -> String {
    let values: Vec<String> = tuple
        .iter()
        .map(|value| match value {
            TupleValue::Null => "null".to_owned(),
            TupleValue::UnchangedToast => "unchanged".to_owned(),
            TupleValue::Omitted { bytes } => format!("{bytes} bytes, omitted"),
            TupleValue::Text(text) if text.len() > 40 => format!("{} bytes", text.len()),
            TupleValue::Text(text) => String::from_utf8_lossy(text).into_owned(),
        })
        .collect();
    values.join(", ")
}
