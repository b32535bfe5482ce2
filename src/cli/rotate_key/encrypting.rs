//! Encrypts with the new key what is not, in small transactions.

use std::collections::BTreeMap;

use anyhow::Context;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::columns::{ENCRYPTED, EncryptedColumn, Holds};
use crate::conninfo::quote_identifier;
use crate::db::{Connection, Store};
use crate::secret::EncryptionKey;
use crate::terminal::tell;

/// Rows that are encrypted again in one transaction: they are locked meanwhile.
const BATCH: i64 = 100;

/// Returns in how many rows of which column something cannot be read, and stays as it is.
pub(super) async fn encrypt_again(
    store: &Store,
    key: &EncryptionKey,
) -> anyhow::Result<BTreeMap<String, usize>> {
    let mut unread = BTreeMap::new();
    for column in &ENCRYPTED {
        let name = format!("{}.{}", column.table, column.column);
        let mut done = 0;
        let mut failed = Vec::new();
        loop {
            let mut client = store.get().await.context("reach the store")?;
            let batch = encrypt_batch(&mut client, key, column, &mut failed).await;
            let rows = batch.with_context(|| format!("encrypt {name} again"))?;
            if rows == 0 {
                break;
            }
            done += rows;
            tell(format_args!("{name}: looked at {done} rows"));
        }
        if !failed.is_empty() {
            unread.insert(name, failed.len());
        }
    }
    Ok(unread)
}

/// One transaction. `failed` are the places of rows that cannot be read, which are not looked
/// at again. Returns how many rows it looked at: 0 when there is none left.
async fn encrypt_batch(
    client: &mut Connection,
    key: &EncryptionKey,
    column: &EncryptedColumn,
    failed: &mut Vec<String>,
) -> anyhow::Result<usize> {
    let list = column.statement(match column.holds {
        Holds::One => include_str!("../../../sql/queries/cli/list_encrypted.sql"),
        Holds::List => include_str!("../../../sql/queries/cli/list_encrypted_lists.sql"),
    });
    let replace = column.statement(include_str!(
        "../../../sql/queries/cli/replace_encrypted.sql"
    ));
    let transaction = client.transaction().await?;
    let begin = include_str!("../../../sql/queries/cli/begin_encrypting.sql");
    transaction.query_one(begin, &[]).await?;
    let rows = transaction
        .query(&list, &[&key.prefix(), &*failed, &BATCH])
        .await?;
    for row in &rows {
        let place: String = row.get("place");
        let Encrypted { value, is_whole } = Encrypted::of(row, key, column);
        // A row that is written has another place afterwards.
        let place = match value {
            None => place,
            Some(value) => transaction
                .query_one(&replace, &[&place, value.as_parameter()])
                .await?
                .get(0),
        };
        if !is_whole {
            failed.push(place);
        }
    }
    transaction.commit().await?;
    Ok(rows.len())
}

/// What a row is to hold.
struct Encrypted {
    /// `None`: what it holds.
    value: Option<Value>,
    /// All of it is encrypted with the new key.
    is_whole: bool,
}

enum Value {
    One(Vec<u8>),
    List(Vec<Vec<u8>>),
}

impl Value {
    fn as_parameter(&self) -> &(dyn ToSql + Sync) {
        match self {
            Value::One(value) => value,
            Value::List(values) => values,
        }
    }
}

impl Encrypted {
    fn of(row: &Row, key: &EncryptionKey, column: &EncryptedColumn) -> Self {
        let context = (column.context)(row);
        let again = |ciphertext: &[u8]| {
            let plain = key.decrypt(ciphertext, &context).ok()?;
            Some(key.encrypt(&plain, &context))
        };
        match column.holds {
            Holds::One => {
                let value = again(row.get("ciphertext")).map(Value::One);
                Encrypted {
                    is_whole: value.is_some(),
                    value,
                }
            }
            Holds::List => {
                let mut is_whole = true;
                let mut or_as_it_is = |ciphertext: Vec<u8>| {
                    again(&ciphertext).unwrap_or_else(|| {
                        is_whole = false;
                        ciphertext
                    })
                };
                let ciphertexts: Vec<Vec<u8>> = row.get("ciphertexts");
                let values = ciphertexts.into_iter().map(&mut or_as_it_is).collect();
                Encrypted {
                    value: Some(Value::List(values)),
                    is_whole,
                }
            }
        }
    }
}

impl EncryptedColumn {
    fn statement(&self, template: &str) -> String {
        template
            .replace(":\"table\"", &quote_identifier(self.table))
            .replace(":\"column\"", &quote_identifier(self.column))
            .replace(":keys", self.keys)
    }
}
