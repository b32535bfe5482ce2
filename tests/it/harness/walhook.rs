//! walhook in this process, on a database of the test's own.

use std::path::PathBuf;
use std::sync::Arc;

use ::walhook::app::{self, Roles};
use ::walhook::config::Config;
use ::walhook::conninfo::Purpose;
use ::walhook::db::Store;
use ::walhook::lsn::Lsn;
use ::walhook::secret::{EncryptionKey, SigningSecret};
use ::walhook::subscription::directory::Directory;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{PATIENCE, TestDatabase, pause};

/// A table and a rule that most tests can use.
pub const ORDERS: &str = "create table orders (id bigint generated always as identity primary key, \
     tenant_id text, status text not null, note text); \
     alter table orders replica identity full";

pub const ORDER_RULES: &str = "
[[events]]
type = 'order.created'
table = 'public.orders'
on = ['insert']

[[events]]
type = 'order.paid'
table = 'public.orders'
on = ['update']
when = \"became(status = 'paid')\"
";

/// An installation: configuration, key and store, with the slot and publication made.
pub struct Installation {
    pub database: TestDatabase,
    pub directory: tempfile::TempDir,
    pub store: Store,
    pub key: EncryptionKey,
    settings: String,
}

impl Installation {
    pub async fn of_orders() -> Self {
        Self::create(ORDERS, ORDER_RULES, "").await
    }

    /// Creates the tables, then sets walhook up for the rules. `settings` are further
    /// lines of TOML, beginning with a section.
    pub async fn create(tables: &str, rules: &str, settings: &str) -> Self {
        Self::create_in(TestDatabase::create().await, tables, rules, settings).await
    }

    pub async fn create_in(
        database: TestDatabase,
        tables: &str,
        rules: &str,
        settings: &str,
    ) -> Self {
        database.client.batch_execute(tables).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let key_file = directory.path().join("walhook.key");
        let settings = format!(
            "[source]\nurl = '{}'\nslot = '{}'\n\
             [security]\nallow_http = true\nallow_networks = ['127.0.0.0/8']\nencryption_key_file = '{}'\n\
             [api]\nlisten = '127.0.0.1:0'\n{settings}\n{rules}",
            database.url,
            database.slot(),
            key_file.display(),
        );
        std::fs::write(directory.path().join("walhook.toml"), &settings).unwrap();
        let config = Config::load(Some(&directory.path().join("walhook.toml"))).unwrap();
        ::walhook::setup::set_up(&config).await.unwrap();
        let key = EncryptionKey::load(&key_file).unwrap();
        let store = Store::open(
            &config.store,
            config.source.writable_url(),
            Purpose::Housekeeping,
        )
        .unwrap();
        Installation {
            database,
            directory,
            store,
            key,
            settings,
        }
    }

    pub fn config_file(&self) -> PathBuf {
        self.directory.path().join("walhook.toml")
    }

    pub fn config(&self) -> Config {
        Config::load(Some(&self.config_file())).unwrap()
    }

    /// Replaces a part of the configuration file.
    pub fn edit(&mut self, from: &str, to: &str) {
        assert!(
            self.settings.contains(from),
            "{from} is not in the configuration"
        );
        self.settings = self.settings.replace(from, to);
        std::fs::write(self.config_file(), &self.settings).unwrap();
    }

    /// Subscribes as the API does, from the WAL's present end on.
    pub async fn subscribe(&self, tenant: &str, url: &str, events: &[&str]) -> Subscribed {
        let row = self
            .database
            .client
            .query_one("select pg_current_wal_insert_lsn()", &[])
            .await
            .unwrap();
        let from: Lsn = row.get(0);
        let id = Uuid::now_v7();
        let secret = SigningSecret::generate();
        let encrypted = self.key.encrypt(secret.text().as_bytes(), id.as_bytes());
        let client = self.store.get().await.unwrap();
        client
            .execute(
                "insert into webhook_subscriptions
                    (id, tenant_id, url, events, secret, secret_hint, from_lsn)
                 values ($1, $2, $3, $4, $5, $6, $7)",
                &[
                    &id,
                    &tenant,
                    &url,
                    &events,
                    &encrypted,
                    &secret.hint(),
                    &from,
                ],
            )
            .await
            .unwrap();
        Subscribed {
            id,
            secret: secret.text().to_owned(),
        }
    }

    /// An empty directory that reads this installation's subscriptions.
    pub fn directory_of_subscriptions(&self) -> Directory {
        let key = EncryptionKey::load(self.directory.path().join("walhook.key"));
        Directory::new(Arc::new(key.unwrap()))
    }

    pub fn start(&self) -> Running {
        self.start_with(Roles::all())
    }

    pub fn start_with(&self, roles: Roles) -> Running {
        let stop = CancellationToken::new();
        let task = tokio::spawn(app::run(self.config(), roles, stop.clone()));
        Running { stop, task }
    }

    /// Waits until a query on the store returns true.
    pub async fn wait_for(&self, condition: &str) {
        let began = std::time::Instant::now();
        loop {
            let client = self.store.get().await.unwrap();
            let row = client
                .query_one(&format!("select ({condition})"), &[])
                .await
                .unwrap();
            if row.get::<_, Option<bool>>(0) == Some(true) {
                return;
            }
            if began.elapsed() > PATIENCE {
                let state = client
                    .query_one(
                        "select format('%s events; deliveries %s; schedule %s; instances %s',
                            (select count(*) from webhook_events),
                            (select json_object_agg(status, n) from (select status || ' ' || (owner is not null) as status, count(*) n from webhook_deliveries group by 1) d),
                            (select json_object_agg(status, n) from (select status || ' ' || (lease_owner is not null) as status, count(*) n from delivery_schedule group by 1) s),
                            (select json_agg(i) from instances i))",
                        &[],
                    )
                    .await
                    .unwrap();
                panic!(
                    "waited in vain for: {condition}; {}",
                    state.get::<_, String>(0)
                );
            }
            pause(began).await;
        }
    }

    pub async fn count(&self, query: &str) -> i64 {
        let client = self.store.get().await.unwrap();
        client.query_one(query, &[]).await.unwrap().get(0)
    }
}

pub struct Subscribed {
    pub id: Uuid,
    pub secret: String,
}

impl Subscribed {
    /// Verifies a request as a subscriber does, with the Standard Webhooks library.
    pub fn verify(&self, request: &super::receiver::Request) {
        let webhook = standardwebhooks::Webhook::new(&self.secret).unwrap();
        webhook.verify(&request.body, &request.headers).unwrap();
    }
}

/// A running walhook. `stop` it: a test that only drops it leaves its tasks behind.
pub struct Running {
    pub stop: CancellationToken,
    pub task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// Drains and ends.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}
