//! A primary with a physical standby, of a release that may be another than the machine's.

use std::path::{Path, PathBuf};

use ::walhook::demo::postgres::{Postgres, Settings, find_binaries};

use super::release::postgres_release;
use super::{connect, stop_at_exit};

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
        let binaries = binaries(major)?;
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

    /// Waits until a query on the standby answers true; fails after a minute and a half.
    pub async fn wait_on_standby(&self, database: &str, condition: &str) {
        let client = connect(&self.standby.url(database)).await;
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(90);
        let query = format!("select ({condition})");
        loop {
            let row = client.query_opt(&query, &[]).await.unwrap();
            if row.and_then(|row| row.get::<_, Option<bool>>(0)) == Some(true) {
                return;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "waited in vain for: {condition}"
            );
            // A state of the standby announces itself to nobody: it is asked for.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
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

/// The binaries of a release: the machine's where it has that one, else npm's.
fn binaries(major: u32) -> Option<PathBuf> {
    let own = find_binaries().filter(|binaries| version(binaries) == Some(major));
    own.or_else(|| {
        (major != MACHINES)
            .then(|| postgres_release(major))
            .flatten()
    })
}

/// Of no other place than the machine itself.
const MACHINES: u32 = 15;

fn version(binaries: &Path) -> Option<u32> {
    let output = std::process::Command::new(binaries.join("postgres"))
        .arg("--version")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let digits = text.split_whitespace().nth(2)?.split('.').next()?;
    digits.parse().ok()
}
