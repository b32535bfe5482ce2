//! `walhook rotate-key`.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;
use uuid::Uuid;

use super::{Outcome, UsageError};
use crate::audit::{Caller, Entry};
use crate::config::Config;
use crate::conninfo::{Client, Purpose};
use crate::db::{Store, StoreKey, StoreRecord};
use crate::secret::{EncryptionKey, KeyId};

mod columns;
mod encrypting;

pub use columns::{ENCRYPTED, EncryptedColumn};
use encrypting::encrypt_again;

/// Change the key that the store is encrypted with, while walhook runs
///
/// The key of security.encryption_key_file encrypts signing secrets, custom headers and kept
/// answers in the store. To change it:
///
///   1. Make a new key: `openssl rand -base64 32 > new.key && chmod 600 new.key`.
///   2. On every node set security.encryption_key_file to the new file and
///      security.previous_encryption_key_file to the old one, and restart the nodes one by
///      one. They go on encrypting with the old key.
///   3. Run `walhook rotate-key` once, on any node. It refuses while an instance lacks the
///      new key, and names it. Then it makes the new key the store's, waits until every
///      instance encrypts with it, and encrypts again what the old one encrypted.
///   4. Remove security.previous_encryption_key_file and the old file, as it says at the end.
///
/// It can be interrupted and run again at any time. A node that has only the old key does not
/// start any more after step 3.
///
/// Exit code 0: all is encrypted with the key of security.encryption_key_file. 1: something
/// is not.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  walhook rotate-key
  walhook rotate-key --lost     the old key is gone: new secrets are needed, see below

With --lost what only the old key could read stays unreadable: the subscriptions concerned
wait, `walhook status` names them, and each works again when its secret is rotated and its
headers are set again.")]
pub struct Args {
    /// Change the key although the one before is gone, and what it encrypted with it.
    #[arg(long)]
    lost: bool,
}

/// An instance may be silent for so long and still run: well beyond the time after which
/// others take it for gone.
const MAY_RUN: Duration = Duration::from_secs(60);
/// How soon it is looked again whether the instances have taken the new key over: they do
/// with a heartbeat, of which there is one every two seconds.
const PERIOD: Duration = Duration::from_millis(500);
/// How long the instances may take for it: longer than one that is gone may be taken for running.
const PATIENCE: Duration = Duration::from_secs(90);

pub async fn run(args: Args, config: &Config) -> anyhow::Result<Outcome> {
    let key = config.security.load_key()?;
    let store = Store::open(
        &config.store,
        config.source.writable_url(),
        Purpose::Command("rotate-key"),
    )?;
    store.check_schema().await?;
    store.check_identity().await?;
    let mut client = store.get().await.context("reach the store")?;
    let recorded = StoreRecord::read(&*client).await?.key;
    let recorded = recorded.context("the store has no key yet: run `walhook setup`")?;
    refuse_unreadable(&args, &recorded, &key)?;
    let without = instances_without(&client, key.id(), |ids, id| ids.contains(&id)).await?;
    if !without.is_empty() {
        bail!(
            "nothing was changed: these instances do not have the key {} of \
             security.encryption_key_file: {}. Give it to them, with the one before as \
             security.previous_encryption_key_file, and start them again",
            key.id(),
            without.join(", ")
        );
    }
    let entry = Entry {
        action: "store.rotate_key",
        object: Some("store".to_owned()),
        before: Some(json!({"key_id": recorded.id.to_string()})),
        after: Some(json!({"key_id": key.id().to_string(), "lost": args.lost})),
        ..Entry::default()
    };
    let transaction = client.transaction().await?;
    let replaced = Store::replace_key_on(&transaction, &key).await?;
    if replaced {
        Caller::of_command().commit(transaction, &entry).await?;
    } else {
        transaction.rollback().await?;
    }
    drop(client);
    if replaced {
        super::print(format_args!("The store's key is now {}.", key.id()))?;
    } else {
        super::print(format_args!("The store's key is {} already.", key.id()))?;
    }
    // From here on this process encrypts with it too.
    store.agree_on_key(&key).await?;
    let mut unread = encrypt_again(&store, &key).await?;
    if wait_for_instances(&store, &key).await? {
        // A request that was encrypted for with the key before may only now be written.
        tokio::time::sleep(config.api.request_timeout.0).await;
    }
    unread.extend(encrypt_again(&store, &key).await?);
    if unread.is_empty() {
        super::print(
            "All is encrypted with it. security.previous_encryption_key_file, and the file that it \
             names, may be removed.",
        )?;
        return Ok(Outcome::Holds);
    }
    let values: Vec<String> = unread
        .iter()
        .map(|(column, count)| format!("{count} in {column}"))
        .collect();
    super::print(format_args!(
        "These values open with no key of this node, and are as they were: {}. `walhook status` \
         names the subscriptions.\n",
        values.join(", ")
    ))?;
    Ok(Outcome::of(args.lost))
}

fn refuse_unreadable(args: &Args, recorded: &StoreKey, key: &EncryptionKey) -> anyhow::Result<()> {
    let known = key.ids().any(|id| id == recorded.id);
    if known || args.lost {
        return Ok(());
    }
    let message = format!(
        "the store is encrypted with the key {}, which is neither that of \
         security.encryption_key_file ({}) nor of security.previous_encryption_key_file: name its \
         file there. If it is lost, see --lost in `walhook rotate-key --help`",
        recorded.id,
        key.id()
    );
    Err(UsageError(message).into())
}

/// The instances whose keys do not pass, by their hosts and ids.
async fn instances_without(
    client: &Client,
    id: KeyId,
    passes: fn(&[KeyId], KeyId) -> bool,
) -> anyhow::Result<Vec<String>> {
    let rows = client
        .query(
            include_str!("../../../sql/queries/cli/list_instance_keys.sql"),
            &[&MAY_RUN.as_secs_f64()],
        )
        .await
        .context("list the instances")?;
    let mut without = Vec::new();
    for row in rows {
        let ids: Vec<Vec<u8>> = row.get("encryption_key_ids");
        let ids: Vec<KeyId> = ids.iter().filter_map(|id| KeyId::of_stored(id)).collect();
        if !passes(&ids, id) {
            let (host, id): (String, Uuid) = (row.get("hostname"), row.get("id"));
            without.push(format!("{host} ({id})"));
        }
    }
    Ok(without)
}

/// Waits until every instance encrypts with the new key. Returns whether there is one.
async fn wait_for_instances(store: &Store, key: &EncryptionKey) -> anyhow::Result<bool> {
    let began = Instant::now();
    loop {
        let client = store.get().await.context("reach the store")?;
        let encrypts = |ids: &[KeyId], id| ids.first() == Some(&id);
        let without = instances_without(&client, key.id(), encrypts).await?;
        if without.is_empty() {
            let any = instances_without(&client, key.id(), |_, _| false).await?;
            return Ok(!any.is_empty());
        }
        drop(client);
        if began.elapsed() > PATIENCE {
            bail!(
                "these instances do not encrypt with the new key yet: {}. If they run, run \
                 `walhook rotate-key` again later; if not, it takes a minute until that is known",
                without.join(", ")
            );
        }
        tokio::time::sleep(PERIOD).await;
    }
}
