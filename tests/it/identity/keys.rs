//! A node with another key than the store's.

use std::collections::BTreeSet;

use ::walhook::cli::rotate_key::ENCRYPTED;
use ::walhook::secret::EncryptionKey;

use super::{columns_of_bytes, is_refused, with_keys};
use crate::harness::walhook::Installation;

#[tokio::test(flavor = "multi_thread")]
async fn another_key_is_refused_by_every_role_and_by_check_also_on_an_empty_store() {
    let installation = Installation::of_orders().await;
    let other = installation.directory.path().join("other.key");
    let own = EncryptionKey::create(&other).unwrap();
    let project = with_keys(&installation, &other, None);
    let says = [
        "Give this node the key file",
        &format!("encrypted with the key {}", installation.key.id()),
        &format!("holds the key {}", own.id()),
    ];
    is_refused(&project, &says).await;
    project
        .walhook(&["check"])
        .await
        .exits(1)
        .says("does not hold the store's key");
    project.walhook(&["setup"]).await.exits(1);
    assert_eq!(
        installation.count("select count(*) from instances").await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_value_tells_a_key_beyond_its_id() {
    let installation = Installation::of_orders().await;
    let client = installation.store.get().await.unwrap();
    let other = EncryptionKey::generate();
    client
        .execute(
            "update store set encryption_key_check = $1",
            &[&other.check_value()],
        )
        .await
        .unwrap();
    let key = installation.directory.path().join("walhook.key");
    let project = with_keys(&installation, &key, None);
    is_refused(&project, &["Give this node the key file"]).await;
}

/// A new column of bytes is either encrypted again when the key changes, or is no secret.
#[tokio::test(flavor = "multi_thread")]
async fn every_column_of_bytes_is_known_to_be_encrypted_or_not() {
    const PLAIN: [&str; 15] = [
        "accepted_rules.definition",
        "api_tokens.hash",
        "backfill_streamed.row_hash",
        "idempotency_keys.request_hash",
        "instances.encryption_key_ids",
        "parked_changes.change",
        "portal_links.code_hash",
        "portal_sessions.cookie_hash",
        "row_shadow.row_key",
        "row_shadow.row_values",
        "store.encryption_key_check",
        "store.encryption_key_id",
        "store.schema_sha256",
        "webhook_attempts.response_body",
        "webhook_events.body",
    ];
    let installation = Installation::of_orders().await;
    let columns = columns_of_bytes(&installation).await;
    let found: BTreeSet<String> = columns
        .iter()
        .map(|one| format!("{}.{}", one.table, one.column))
        .collect();
    let encrypted = ENCRYPTED
        .iter()
        .map(|column| format!("{}.{}", column.table, column.column));
    let known: BTreeSet<String> = encrypted
        .chain(PLAIN.iter().map(ToString::to_string))
        .collect();
    assert_eq!(found, known);
}
