//! The tests of `it` that depend on the server's release, run on each. The release of the
//! machine's own server is under test in `cargo test`.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

use crate::release::postgres_release;

/// The modules whose tests meet the server itself: what it streams, its catalog, its
/// messages and its rights.
const MODULES: [&str; 17] = [
    "agreement::",
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
    "hostile::",
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
    let Some(binaries) = postgres_release(major) else {
        return;
    };
    // One release at a time: each run has as many tests at once as the machine bears.
    let lock = Path::new(env!("CARGO_TARGET_TMPDIR")).join("versions.lock");
    let lock = File::create(lock).unwrap();
    lock.lock().unwrap();
    // Through Cargo, which alone knows where the binary of `it` is, and builds it.
    let run = Command::new(env!("CARGO"))
        .args(["test", "--test", "it", "--"])
        .args(MODULES)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("WALHOOK_TEST_PG_BIN", binaries)
        // Of this test process alone: crates are built in another way where it is set.
        .env_remove("RUSTC_BOOTSTRAP")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&run.stdout);
    print_through(&of_release(&output, major));
    assert!(
        run.status.success(),
        "tests fail on PostgreSQL {major}\n{}",
        String::from_utf8_lossy(&run.stderr)
    );
    assert!(
        MODULES
            .iter()
            .all(|module| output.contains(&format!("test {module}"))),
        "a module of {MODULES:?} has no test"
    );
}

/// The output with the release in front of each test's name.
fn of_release(output: &str, major: u32) -> String {
    output.lines().fold(String::new(), |text, line| {
        let line = match line.strip_prefix("test ") {
            Some(test) if !test.starts_with("result") => format!("test postgres_{major}/{test}"),
            _ => line.to_owned(),
        };
        text + &line + "\n"
    })
}

/// Prints also where the test's output is captured: the test harness captures what the
/// print macros write and nothing else.
fn print_through(text: &str) {
    io::stdout().write_all(text.as_bytes()).unwrap();
}
