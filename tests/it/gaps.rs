//! After a gap: `walhook setup --accept-gap` goes on after it. What lies in it is not
//! delivered and on record; what was delivered is not sent again; the rest flows.

mod restored;
mod running;

use std::collections::BTreeSet;
use std::sync::OnceLock;

use ::walhook::demo::postgres::Postgres;

use crate::harness::command::Answer;
use crate::harness::receiver::{Receiver, Request};
use crate::harness::walhook::{Installation, ORDER_RULES, ORDERS};
use crate::harness::{TestDatabase, start_postgres, stop_at_exit};
use crate::refusals::{drop_slot, run};

/// A server for the tests about gaps: on it every slot is made again, which waits for each
/// transaction of the whole server, and other tests keep some open.
pub fn quiet_server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| {
        let settings = [
            ("max_replication_slots", "50"),
            ("max_wal_senders", "50"),
            ("max_connections", "300"),
        ];
        let server = start_postgres(&settings).expect("start PostgreSQL");
        stop_at_exit(&server);
        server
    })
}

pub async fn quiet_orders() -> Installation {
    let database = TestDatabase::create_on(quiet_server()).await;
    Installation::create_in(database, ORDERS, ORDER_RULES, "").await
}

/// What becomes of what is committed after the fault and before it is accepted.
#[derive(PartialEq)]
enum Behind {
    Lost,
    Kept,
}

/// An installation that has delivered the order `before`.
struct Gap {
    installation: Installation,
    receiver: Receiver,
    acknowledged: String,
}

impl Gap {
    async fn after_one_order(installation: Installation) -> Self {
        let receiver = Receiver::start().await;
        installation
            .subscribe("acme", &receiver.url("/"), &["*"])
            .await;
        let gap = Gap {
            installation,
            receiver,
            acknowledged: String::new(),
        };
        gap.order("before").await;
        let running = gap.installation.start();
        gap.receiver.wait_for(1).await;
        running.stop().await;
        let acknowledged = gap.text("select acknowledged_lsn::text from replication_progress");
        Gap {
            acknowledged: acknowledged.await,
            ..gap
        }
    }

    async fn order(&self, note: &str) {
        let insert = "insert into orders (tenant_id, status, note) values ('acme', 'new', $1)";
        let application = &self.installation.database.client;
        application.execute(insert, &[&note]).await.unwrap();
    }

    async fn sql(&self, sql: &str) {
        let client = self.installation.store.get().await.unwrap();
        client.batch_execute(sql).await.unwrap();
    }

    async fn text(&self, query: &str) -> String {
        let client = self.installation.store.get().await.unwrap();
        client.query_one(query, &[]).await.unwrap().get(0)
    }

    async fn walhook(&self, arguments: &[&str]) -> Answer {
        let mut command = crate::harness::command::walhook();
        command
            .arg("--config")
            .arg(self.installation.config_file())
            .args(arguments);
        crate::harness::command::answer(command.output().await.unwrap())
    }

    /// Refused, then accepted: what is committed afterwards comes, once, and where the WAL
    /// can be read again what was committed after the fault. `said` is what the record
    /// says of the reason. Answers what setup said.
    async fn is_gone_on_behind(&self, said: &str, behind: Behind) -> Answer {
        self.order("in the gap").await;
        run(&self.installation).await.exits(1).says("--accept-gap");
        let setup = self.walhook(&["setup"]).await.exits(1);
        setup.says(said).says("--accept-gap");
        let events = "select count(*) from webhook_events";
        assert_eq!(self.installation.count(events).await, 1);

        let accepted = self.walhook(&["setup", "--accept-gap"]).await.exits(0);
        assert!(accepted.out.contains("NOT delivered"), "{}", accepted.out);
        let from = format!("The gap, from {} to ", self.acknowledged);
        assert!(accepted.out.contains(&from), "{}", accepted.out);
        let running = self.installation.start();
        self.order("after").await;
        let expected = match behind {
            Behind::Lost => vec!["before", "after"],
            Behind::Kept => vec!["before", "in the gap", "after"],
        };
        self.receiver.wait_for(expected.len()).await;
        running.stop().await;

        let requests = self.receiver.requests();
        assert_eq!(notes(&requests), expected);
        let ids: BTreeSet<_> = requests.iter().map(Request::id).collect();
        assert_eq!(ids.len(), expected.len());
        assert_eq!(self.installation.count(events).await, expected.len() as i64);
        let recorded = format!(
            "select count(*) from gaps g, webhook_events e
             where g.slot = '{}' and g.from_lsn = '{}' and g.reason like '%{said}%'
                and g.accepted_at >= g.detected_at
                and e.commit_lsn >= g.to_lsn
                and convert_from(e.body, 'UTF8') like '%after%'",
            self.installation.database.slot(),
            self.acknowledged
        );
        assert_eq!(self.installation.count(&recorded).await, 1);
        let of_all = "select count(*) from gaps where table_name is null";
        assert_eq!(self.installation.count(of_all).await, 1);
        let status = self.walhook(&["status"]).await.says("accepted; the newest");
        assert!(!status.out.contains("--accept-gap"), "{}", status.out);
        let json = self.walhook(&["status", "--json"]).await.json();
        assert_eq!(json["gaps"]["open"].as_array().unwrap().len(), 0);
        if self.installation.count("select count(*) from gaps").await == 1 {
            assert_eq!(json["gaps"]["accepted"], 1);
            assert_eq!(json["gaps"]["newest"]["from_lsn"], *self.acknowledged);
        }
        // A second time there is nothing to accept.
        let again = self.walhook(&["setup", "--accept-gap"]).await.exits(0);
        assert!(!again.out.contains("NOT delivered"), "{}", again.out);
        accepted
    }
}

fn notes(requests: &[Request]) -> Vec<String> {
    let note = |request: &Request| request.json()["data"]["note"].as_str().unwrap().to_owned();
    requests.iter().map(note).collect()
}

#[tokio::test]
async fn behind_a_dropped_slot_and_what_was_missed_is_sent_as_told() {
    let gap = Gap::after_one_order(quiet_orders().await).await;
    drop_slot(&gap.installation).await;
    let told = gap.is_gone_on_behind("was dropped", Behind::Lost).await;

    let commands = told.out.lines().map(str::trim);
    let mut commands = commands.filter(|line| line.starts_with("walhook backfill "));
    let command = commands.next().expect("a command is told");
    assert_eq!(
        command,
        "walhook backfill --table public.orders --event order.created --event order.paid"
    );
    let running = gap.installation.start();
    // The table has no column that says when a row was written.
    let mut arguments: Vec<&str> = command.split(' ').skip(1).collect();
    arguments.extend(["--where", "note = 'in the gap'"]);
    gap.walhook(&arguments).await.exits(0).says("1 events");
    gap.receiver.wait_for(3).await;
    running.stop().await;
    let requests = gap.receiver.requests();
    assert_eq!(notes(&requests), ["before", "after", "in the gap"]);
    assert_eq!(requests[2].json()["type"], "order.created");
}

#[tokio::test]
async fn behind_a_publication_that_was_dropped_and_made_again() {
    let gap = Gap::after_one_order(quiet_orders().await).await;
    gap.sql("drop publication walhook").await;
    gap.order("in the gap, unpublished").await;
    gap.sql("create publication walhook for table public.orders")
        .await;
    // 18 skips what a missing publication concerns, and says so in a notice:
    // nothing fails there that could be found.
    let version = "select current_setting('server_version_num')::bigint / 10000";
    let behind = match gap.installation.count(version).await {
        ..18 => Behind::Kept,
        _ => Behind::Lost,
    };
    gap.is_gone_on_behind("publication `walhook` does not exist", behind)
        .await;
}

/// The other system's log is younger: its positions are below all that is recorded,
/// the beginnings of the subscriptions included.
#[tokio::test]
async fn behind_a_move_to_another_system() {
    let mut gap = Gap::after_one_order(quiet_orders().await).await;
    gap.sql(
        "update replication_progress
            set system_identifier = '42', commit_lsn = 'FFF/0', acknowledged_lsn = 'FFF/0';
         update webhook_subscriptions set from_lsn = 'FFF/0'",
    )
    .await;
    gap.acknowledged = "FFF/0".to_owned();
    let told = gap
        .is_gone_on_behind("another PostgreSQL system", Behind::Lost)
        .await;
    told.says("`sequence` of events to come may sort before");
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_lost_slot() {
    let server = start_postgres(&[
        ("max_slot_wal_keep_size", "1MB"),
        ("min_wal_size", "32MB"),
        ("max_wal_size", "32MB"),
    ]);
    let server = server.unwrap();
    stop_at_exit(&server);
    let database = TestDatabase::create_on(&server).await;
    let installation = Installation::create_in(database, ORDERS, ORDER_RULES, "").await;
    let gap = Gap::after_one_order(installation).await;
    // Segments of 16 MB: a few switches and checkpoints are more than may be kept.
    for _ in 0..4 {
        gap.order("in the gap, lost").await;
        gap.sql("select pg_switch_wal(); checkpoint").await;
    }
    gap.is_gone_on_behind("is lost", Behind::Lost).await;
}

#[tokio::test]
async fn what_turns_out_to_be_no_gap_is_forgotten() {
    let gap = Gap::after_one_order(quiet_orders().await).await;
    let system = gap
        .text("select system_identifier from replication_progress")
        .await;
    gap.sql("update replication_progress set system_identifier = '42'")
        .await;
    run(&gap.installation).await.exits(1);
    assert_eq!(gap.installation.count("select count(*) from gaps").await, 1);
    // The wrong URL is corrected.
    gap.sql(&format!(
        "update replication_progress set system_identifier = '{system}'"
    ))
    .await;
    gap.walhook(&["setup"]).await.exits(0);
    let running = gap.installation.start();
    gap.order("after").await;
    gap.receiver.wait_for(2).await;
    running.stop().await;
    assert_eq!(gap.installation.count("select count(*) from gaps").await, 0);
}

/// As where the session was ended each time that it was tried.
#[tokio::test]
async fn what_is_decoded_after_all_is_no_gap_and_nothing_of_it_is_skipped() {
    let gap = Gap::after_one_order(quiet_orders().await).await;
    gap.order("in the gap").await;
    gap.sql(
        "insert into gaps (slot, kind, from_lsn, reason, wedged)
         select slot, 'unreadable', acknowledged_lsn, 'PostgreSQL says: out of memory', true
         from replication_progress",
    )
    .await;
    gap.walhook(&["setup"]).await.exits(1).says("out of memory");
    let accepted = gap.walhook(&["setup", "--accept-gap"]).await.exits(0);
    assert!(!accepted.out.contains("NOT delivered"), "{}", accepted.out);
    assert!(
        accepted.out.contains("nothing was skipped"),
        "{}",
        accepted.out
    );
    let running = gap.installation.start();
    gap.receiver.wait_for(2).await;
    running.stop().await;
    assert_eq!(notes(&gap.receiver.requests()), ["before", "in the gap"]);
    assert_eq!(gap.installation.count("select count(*) from gaps").await, 0);
}

/// In WIN1252 the byte 81 is stored and has no equivalent in UTF-8: the server fails at
/// that row, each time. Slot and catalog look well.
#[tokio::test]
async fn behind_a_row_that_the_server_cannot_send() {
    let source = TestDatabase::create_encoded_on(quiet_server(), "WIN1252").await;
    let store = TestDatabase::create_on(quiet_server()).await;
    let settings = format!("[store]\nurl = '{}'\n", store.url);
    let installation = Installation::create_in(source, ORDERS, ORDER_RULES, &settings).await;
    let gap = Gap::after_one_order(installation).await;
    let bad = "insert into orders (tenant_id, status, note) values ('acme', 'new', E'\\201')";
    let application = &gap.installation.database.client;
    application.batch_execute(bad).await.unwrap();
    let answer = run(&gap.installation).await.exits(1);
    answer
        .says("capture cannot get past this")
        .says("22P05, after ")
        .says("--accept-gap");
    gap.is_gone_on_behind("has no equivalent in encoding", Behind::Kept)
        .await;
}
