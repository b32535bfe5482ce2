//! A primary with a physical standby, of a release of their own.

use ::walhook::demo::postgres::{Postgres, Settings};

use crate::harness::{PATIENCE, connect, pause, stop_at_exit};
use crate::release::postgres_release;

/// Small, with room for what the tests of a pair make.
const SETTINGS: Settings<'static> = &[
    ("max_replication_slots", "10"),
    ("shared_buffers", "32MB"),
    ("fsync", "off"),
    ("hot_standby_feedback", "on"),
];

/// The name of the physical slot through which the standby follows.
const FOLLOWER: &str = "standby";

pub struct Pair {
    pub primary: Postgres,
    pub standby: Postgres,
}

impl Pair {
    /// `None` where there is no such release.
    pub async fn start(major: u32, primary: Settings<'_>, standby: Settings<'_>) -> Option<Self> {
        let binaries = postgres_release(major)?;
        let primary = Postgres::start_from(&binaries, &[SETTINGS, primary].concat()).unwrap();
        stop_at_exit(&primary);
        let follow = format!(
            "host=127.0.0.1 port={} user=postgres dbname=postgres sslmode=disable",
            primary.port()
        );
        let own = [
            ("primary_conninfo", follow.as_str()),
            ("primary_slot_name", FOLLOWER),
        ];
        let standby = primary.copy(&[&own, standby].concat()).unwrap();
        std::fs::write(standby.data_directory().join("standby.signal"), "").unwrap();
        let administrator = connect(&primary.url("postgres")).await;
        administrator
            .execute(
                "select pg_create_physical_replication_slot($1, true)",
                &[&FOLLOWER],
            )
            .await
            .unwrap();
        tokio::task::block_in_place(|| standby.boot()).unwrap();
        stop_at_exit(&standby);
        Some(Pair { primary, standby })
    }

    /// Whichever of the two takes writes.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://postgres@127.0.0.1:{},127.0.0.1:{}/{database}?sslmode=disable&target_session_attrs=read-write",
            self.primary.port(),
            self.standby.port()
        )
    }

    /// Waits until a query on the standby returns true.
    pub async fn wait_on_standby(&self, database: &str, condition: &str) {
        let client = connect(&self.standby.url(database)).await;
        let began = std::time::Instant::now();
        let query = format!("select ({condition})");
        loop {
            let row = client.query_opt(&query, &[]).await.unwrap();
            if row.and_then(|row| row.get::<_, Option<bool>>(0)) == Some(true) {
                return;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "waited in vain for: {condition}"
            );
            pause(began).await;
        }
    }

    /// Waits until the standby has replayed all that the primary has written.
    pub async fn wait_for_replay(&self) {
        let primary = connect(&self.primary.url("postgres")).await;
        let row = primary
            .query_one("select pg_current_wal_lsn()::text", &[])
            .await
            .unwrap();
        let end: String = row.get(0);
        self.wait_on_standby("postgres", &format!("pg_last_wal_replay_lsn() >= '{end}'"))
            .await;
    }

    /// The primary is gone as by a power cut, and the standby takes its place.
    pub async fn fail_over(&self) {
        self.primary.crash().unwrap();
        let client = connect(&self.standby.url("postgres")).await;
        client
            .batch_execute("select pg_promote(true, 60)")
            .await
            .unwrap();
    }
}
