//! One server for the test binary, one database for each test.

pub mod command;
pub mod name_server;
pub mod operated;
pub mod process;
pub mod proxy;
pub mod receiver;
pub mod walhook;

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ::walhook::conninfo::{Client, ConnInfo, ConnInfoError, Purpose};
use ::walhook::db::{Store, StoreConfig};
use ::walhook::demo::postgres::{Postgres, PostgresError, Settings};

/// The server that the tests of this binary share. A static is never dropped:
/// `stop_at_exit` stops the server when the test process ends.
pub fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = start_postgres(&[
            ("max_replication_slots", "1000"),
            ("max_wal_senders", "60"),
            ("max_connections", "400"),
            ("shared_buffers", "64MB"),
            // What is decoded for one test holds the changes of all: no copies of whole pages.
            ("full_page_writes", "off"),
        ])
        .expect("start PostgreSQL");
        stop_at_exit(&server);
        server
    })
}

/// What every server of a test begins with.
const QUICK: Settings<'static> = &[
    // A server that is killed loses nothing that the kernel has.
    ("fsync", "off"),
    // It visits every database of the server each minute: of hundreds, each gone in seconds.
    ("autovacuum", "off"),
];

/// A server of the version under test: that of the machine, or the one whose binaries
/// stand in WALHOOK_TEST_PG_BIN (`--test versions` sets it).
pub fn start_postgres(settings: Settings<'_>) -> Result<Postgres, PostgresError> {
    let settings = [QUICK, settings].concat();
    match std::env::var_os("WALHOOK_TEST_PG_BIN") {
        Some(binaries) => Postgres::start_from(Path::new(&binaries), &settings),
        None => Postgres::start(&settings),
    }
}

/// A shell that waits for this process to end, however it ends, and then stops the
/// server and removes its directory.
pub fn stop_at_exit(server: &Postgres) {
    let script = r#"while kill -0 "$1" 2>/dev/null; do sleep 0.5; done; kill -QUIT "$2"; sleep 1; rm -rf "$3""#;
    let watcher = std::process::Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(std::process::id().to_string())
        .arg(
            server
                .pid()
                .expect("a running server has a pid")
                .to_string(),
        )
        .arg(server.socket_directory())
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("spawn the shell that stops the server");
    // It outlives us by design: nobody waits for it.
    drop(watcher);
}

/// A database of its own for one test.
#[allow(dead_code)]
pub struct TestDatabase {
    pub name: String,
    pub url: String,
    /// The application's connection, as superuser.
    pub client: Client,
}

impl TestDatabase {
    pub async fn create() -> Self {
        Self::create_on(server()).await
    }

    pub async fn create_on(server: &Postgres) -> Self {
        Self::create_with(server, "").await
    }

    pub async fn create_encoded(encoding: &str) -> Self {
        Self::create_encoded_on(server(), encoding).await
    }

    pub async fn create_encoded_on(server: &Postgres, encoding: &str) -> Self {
        let options = format!("encoding '{encoding}' template template0");
        Self::create_with(server, &options).await
    }

    pub async fn create_with(server: &Postgres, options: &str) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{number}", std::process::id());
        let admin = connect(&server.url("postgres")).await;
        admin
            .batch_execute(&format!("create database {name} {options}"))
            .await
            .unwrap();
        let url = server.url(&name);
        let client = connect(&url).await;
        TestDatabase { name, url, client }
    }

    /// A slot's name is unique in the cluster, so it is made of the database's.
    pub fn slot(&self) -> String {
        format!("walhook_{}", self.name)
    }

    /// The role that the API's queries run as, unless it is configured.
    pub fn tenant_role(&self) -> String {
        format!("walhook_tenant_{}_walhook", self.name)
    }

    /// The store in this database, set up.
    pub async fn store(&self) -> Store {
        let store = Store::open(
            &StoreConfig::default(),
            &self.url.as_str().into(),
            Purpose::Housekeeping,
        )
        .unwrap();
        store.create_schema().await.unwrap();
        store
    }
}

/// How long a test waits for what must come. Far longer than that takes on a machine with
/// other work: a test that fails waits so long, no other.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// The pause before another look at what does not announce itself. It grows with the time
/// waited since `began`: each look takes CPU from what is waited for.
pub async fn pause(began: Instant) {
    let longest = Duration::from_millis(100);
    let pause = (began.elapsed() / 10).clamp(Duration::from_millis(5), longest);
    tokio::time::sleep(pause).await;
}

/// Makes every commit of the server wait for a standby that is not there, until the setting is
/// reset. It holds once the checkpointer has read it, some time after the sessions have.
pub async fn hold_commits(client: &Client, url: &str) {
    let set = "alter system set synchronous_standby_names = 'absent'";
    client.batch_execute(set).await.unwrap();
    let reload = "select pg_reload_conf()";
    client.batch_execute(reload).await.unwrap();
    let began = Instant::now();
    loop {
        let session = connect(url).await;
        let commit = tokio::spawn(async move {
            let probe = "create table probe (); drop table probe";
            session.batch_execute(probe).await
        });
        while !commit.is_finished() {
            let waits = "select exists (select from pg_stat_activity where wait_event = 'SyncRep')";
            if client.query_one(waits, &[]).await.unwrap().get(0) {
                return;
            }
        }
        pause(began).await;
    }
}

/// A client of an API under test. It speaks plain HTTP: the machine's root certificates,
/// which a debug build takes long to parse, are not read.
pub fn http() -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy();
    client.tls_certs_only([]).build().unwrap()
}

/// A session as the application has it.
pub async fn connect(url: &str) -> Client {
    try_connect(url).await.unwrap()
}

pub async fn try_connect(url: &str) -> Result<Client, ConnInfoError> {
    let conninfo = ConnInfo::parse(url)?;
    conninfo.connect(Purpose::Application, None).await
}
