//! The tests that depend on the server's version, on PostgreSQL 14, 16, 17 and 18 too:
//! this test binary, run again on each. The machine's own server is under test anyway.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use crate::harness::release::postgres_release;

/// The modules whose tests meet the server itself: what it streams, its catalog, its
/// messages and its rights.
const MODULES: [&str; 15] = [
    "pipeline::",
    "capture::",
    "shadow::",
    "gaps::",
    "cli::",
    "store::",
    "explain::",
    "facts::",
    "truncate::",
    "backfill::",
    "replay::",
    // tables::large is of our memory, and slow.
    "tables::changes::",
    "tables::names::",
    "tables::partitions::",
    "tables::types::",
];

#[test]
fn postgres_14() {
    holds_on(14);
}

#[test]
fn postgres_16() {
    holds_on(16);
}

#[test]
fn postgres_17() {
    holds_on(17);
}

#[test]
fn postgres_18() {
    holds_on(18);
}

fn holds_on(major: u32) {
    // Already under a version that somebody chose: they want that one alone.
    if std::env::var_os("WALHOOK_TEST_PG_BIN").is_some() {
        return;
    }
    let Some(binaries) = postgres_release(major) else {
        return;
    };
    // One version at a time: the rest of the suite runs meanwhile.
    let lock = Path::new(env!("CARGO_TARGET_TMPDIR")).join("versions.lock");
    let lock = File::create(lock).unwrap();
    lock.lock().unwrap();
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["--test-threads", "2"])
        .args(MODULES)
        .env("WALHOOK_TEST_PG_BIN", binaries)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    println!(
        "PostgreSQL {major}\n{said}{}",
        String::from_utf8_lossy(&run.stderr)
    );
    assert!(run.status.success(), "tests fail on PostgreSQL {major}");
    assert!(
        MODULES
            .iter()
            .all(|module| said.contains(&format!("test {module}"))),
        "a module of {MODULES:?} has no test"
    );
}
