//! Clocks that disagree. libfaketime moves the wall clock of walhook's process alone: the
//! store, the source and the receiver, which is this process, keep theirs, and so does the
//! monotonic clock of all.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::harness::command::walhook;
use crate::harness::process::Process;
use crate::harness::receiver::{Receiver, Request, status};
use crate::harness::walhook::{Installation, ORDER_RULES, ORDERS};

/// The wall clock of a process.
struct FakeClock {
    directory: tempfile::TempDir,
    library: PathBuf,
}

impl FakeClock {
    /// So far from the true one: seconds, or `+2h`, `-60d`.
    fn ahead_by(offset: &str) -> Self {
        let libraries = std::fs::read_dir("/usr/lib").unwrap();
        let library = libraries
            .map(|directory| {
                directory
                    .unwrap()
                    .path()
                    .join("faketime/libfaketimeMT.so.1")
            })
            .find(|library| library.exists());
        let clock = FakeClock {
            directory: tempfile::tempdir().unwrap(),
            library: library.expect("needs libfaketime: apt-get install -y faketime"),
        };
        clock.step_to(offset);
        clock
    }

    /// At once, for the process that runs under it.
    fn step_to(&self, offset: &str) {
        let next = self.directory.path().join("next");
        std::fs::write(&next, offset).unwrap();
        // Never half written.
        std::fs::rename(next, self.file()).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("offset")
    }

    fn environment(&self) -> [(&'static str, OsString); 4] {
        [
            ("LD_PRELOAD", self.library.clone().into()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().into()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }

    fn start(&self, installation: &Installation) -> Process {
        Process::start_under(&installation.config_file(), &["run"], &self.environment())
    }
}

const SCHEDULE: &str = "[delivery]\nretry_schedule = ['100ms', '2s', '2s', '1h']\n";

/// Below each skew that is tried here, and time enough for a loaded machine.
const LATE: Duration = Duration::from_secs(15);

/// The request after this one came when it was due, a jitter of 20 % included.
#[track_caller]
fn assert_due(requests: &[Request], index: usize, delay: Duration) {
    let waited = requests[index + 1].at - requests[index].at;
    assert!(waited >= delay, "request {index}: early, {waited:?}");
    let latest = delay.mul_f64(1.2) + LATE;
    assert!(waited <= latest, "request {index}: late, {waited:?}");
}

async fn insert_order(installation: &Installation) {
    let insert = "insert into orders (tenant_id, status) values ('acme', 'new')";
    let inserted = installation.database.client.batch_execute(insert);
    inserted.await.unwrap();
}

/// A clock that differs says nothing of when a delivery is due, by `Retry-After` or by the
/// schedule, nor of any time that is stored or measured, and fences no instance.
async fn a_skewed_node_works_as_any_other(offset: &str) {
    let installation = Installation::create(ORDERS, ORDER_RULES, SCHEDULE).await;
    let receiver = Receiver::answering(|path, number| match (path, number) {
        ("/fails", 1) => status(429).with_header("retry-after", "1"),
        ("/fails", 2) => status(500),
        _ => status(200),
    })
    .await;
    let clock = FakeClock::ahead_by(offset);
    let mut process = clock.start(&installation);
    // A peer, which would fence one that it takes for silent.
    let mut peer = Process::start(&installation.config_file(), &["run"]);
    let both = "(select count(*) = 2 from instances)";
    installation.wait_for(both).await;

    for path in ["/fails", "/works"] {
        let url = receiver.url(path);
        installation
            .subscribe("acme", &url, &["order.created"])
            .await;
    }
    let began = jiff::Timestamp::now();
    insert_order(&installation).await;
    let requests = receiver.wait_for_of("/fails", 3).await;
    assert_due(&requests, 0, Duration::from_secs(1));
    assert_due(&requests, 1, Duration::from_secs(2));

    let delivered = "(select count(*) = 2 from webhook_deliveries where status = 'delivered')";
    installation.wait_for(delivered).await;
    // The store's clock is known to half of a round trip, which a busy machine makes long.
    let out_of_time = &format!("
        select count(*)
        from (
            select unnest(array[delivered_at, first_attempt_at]) as at from webhook_deliveries
            union all
            select started_at from webhook_attempts
        ) times
        where at > clock_timestamp() + interval '2 s' or at < '{began}'::timestamptz - interval '2 s'"
    );
    assert_eq!(installation.count(out_of_time).await, 0);

    let heard = "(select count(*) = 2 from instances where fenced_at is null
        and clock_timestamp() - started_at > interval '8 s'
        and clock_timestamp() - heartbeat_at < interval '5 s'
        and clock_skew_seconds is not null)";
    installation.wait_for(heard).await;
    let skewed = "select count(*) from instances where abs(clock_skew_seconds) between 19 and 21";
    assert_eq!(installation.count(skewed).await, 1);
    assert!(
        !process.has_ended() && !peer.has_ended(),
        "{}",
        process.log()
    );
}

#[tokio::test]
async fn a_node_whose_clock_is_20_s_ahead_works_as_any_other() {
    a_skewed_node_works_as_any_other("+20").await;
}

#[tokio::test]
async fn a_node_whose_clock_is_20_s_behind_works_as_any_other() {
    a_skewed_node_works_as_any_other("-20").await;
}

/// What was committed so long ago that it took three seconds and more to be delivered is
/// measured so, by the source's clock.
#[tokio::test]
async fn latency_is_measured_by_the_clock_that_said_when_it_was_committed() {
    for offset in ["+20", "-20"] {
        let installation = Installation::create(ORDERS, ORDER_RULES, SCHEDULE).await;
        // Of first attempts alone the latency is measured.
        let slow = |_: &str, _| status(200).taking(Duration::from_secs(4));
        let receiver = Receiver::answering(slow).await;
        let url = receiver.url("/");
        installation.subscribe("acme", &url, &["*"]).await;
        let clock = FakeClock::ahead_by(offset);
        let process = clock.start(&installation);
        process.says("walhook is running", 1).await;
        insert_order(&installation).await;
        let delivered = "(select count(*) = 1 from webhook_deliveries where status = 'delivered')";
        installation.wait_for(delivered).await;
        let total = process
            .gauge("walhook_latency_seconds_sum{stage=\"total\"}")
            .await;
        assert!((3.0..18.0).contains(&total), "{offset}: {total}");
        let lag = process.gauge("walhook_replication_lag_seconds").await;
        assert!(lag < 18.0, "{offset}: {lag}");
    }
}

#[tokio::test]
async fn a_step_of_an_hour_moves_no_due_time_and_is_told_once() {
    let installation = Installation::create(ORDERS, ORDER_RULES, SCHEDULE).await;
    let receiver = Receiver::answering(|_, number| match number {
        1 => status(503).with_header("retry-after", "2"),
        2 | 3 => status(500),
        _ => status(200),
    })
    .await;
    let url = receiver.url("/");
    installation.subscribe("acme", &url, &["*"]).await;
    let clock = FakeClock::ahead_by("+0");
    let process = clock.start(&installation);
    process.says("walhook is running", 1).await;
    insert_order(&installation).await;
    receiver.wait_for(1).await;
    clock.step_to("+1h");
    receiver.wait_for(2).await;
    clock.step_to("-1h");
    receiver.wait_for(3).await;
    clock.step_to("+1h");
    let requests = receiver.wait_for(4).await;
    for index in 0..3 {
        assert_due(&requests, index, Duration::from_secs(2));
    }

    for side in ["store", "source"] {
        let text = format!("this machine's clock is 60 min ahead of the {side}'s");
        process.says(&text, 1).await;
        let gauge = format!("walhook_clock_skew_seconds{{side=\"{side}\"}}");
        let skew = process.gauge(&gauge).await;
        assert!((3_590.0..3_610.0).contains(&skew), "{side}: {skew}");
    }
    let noted = "exists (select from instances where clock_skew_seconds > 3000)";
    installation.wait_for(noted).await;
    let said = problems(&installation).await;
    assert!(said.contains("receivers reject what it sends"), "{said}");

    clock.step_to("+45");
    let noted = "exists (select from instances where clock_skew_seconds between 40 and 50)";
    installation.wait_for(noted).await;
    let said = problems(&installation).await;
    assert!(said.contains("45 s ahead of the store's"), "{said}");
    assert!(!said.contains("receivers reject"), "{said}");

    clock.step_to("+0");
    for side in ["store", "source"] {
        let text = format!("this machine's clock agrees with the {side}'s again");
        process.says(&text, 1).await;
    }
    let noted = "exists (select from instances where abs(clock_skew_seconds) < 5)";
    installation.wait_for(noted).await;
    let said = problems(&installation).await;
    assert!(!said.contains("clock"), "{said}");
    // Heartbeats read the clock every two seconds; each state is said when it begins.
    let log = process.log();
    assert_eq!(log.matches("agrees with the store's again").count(), 1);
}

/// What `walhook status` calls problems.
async fn problems(installation: &Installation) -> String {
    let mut command = walhook();
    command.arg("--config").arg(installation.config_file());
    let output = command.args(["status", "--json"]).output().await.unwrap();
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    status["problems"].to_string()
}

/// Two months ahead, beyond retention and every overlap.
#[tokio::test]
async fn days_are_made_and_kept_and_secrets_expire_by_the_stores_clock() {
    let installation = Installation::of_orders().await;
    let receiver = Receiver::start().await;
    let url = receiver.url("/");
    installation.subscribe("acme", &url, &["*"]).await;
    let rotate = "update walhook.webhook_subscriptions set previous_secrets = array[secret],
        previous_secrets_expire_at = array[now() + interval '1 h']";
    let rotated = installation.database.client.batch_execute(rotate);
    rotated.await.unwrap();
    let clock = FakeClock::ahead_by("+60d");
    let process = clock.start(&installation);
    // The pruner has made the days ahead, and has dropped those past retention before.
    let day = "to_char(now() at time zone 'utc' + interval '4 days', 'YYYYMMDD')";
    let made = format!("to_regclass('webhook_attempts_' || {day}) is not null");
    installation.wait_for(&made).await;
    process.says("walhook is running", 1).await;
    insert_order(&installation).await;
    let requests = receiver.wait_for(1).await;
    let signatures = requests[0].header("webhook-signature");
    assert_eq!(signatures.matches("v1,").count(), 2, "{signatures}");
}

#[tokio::test]
async fn a_token_is_valid_for_as_long_as_was_said_whatever_clock_its_maker_had() {
    let installation = Installation::of_orders().await;
    let clock = FakeClock::ahead_by("-2h");
    let process = clock.start(&installation);
    let api = process.api().await;
    let mut command = walhook();
    command.arg("--config").arg(installation.config_file());
    command.envs(clock.environment());
    command.args(["token", "create", "--tenant", "acme", "--expires", "1h"]);
    let made = command.output().await.unwrap();
    let printed = String::from_utf8(made.stdout).unwrap();
    let token = printed
        .split_whitespace()
        .find(|word| word.starts_with("whk_"));
    let url = format!("{api}/api/v1/tenant/webhooks/subscriptions");
    for _ in ["asked of the store", "remembered"] {
        let asked = reqwest::Client::new().get(&url).bearer_auth(token.unwrap());
        assert_eq!(asked.send().await.unwrap().status(), 200);
    }
}
