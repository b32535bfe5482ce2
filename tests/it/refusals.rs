//! What bad input gets from `walhook run`: it ends, with the state and the way out, and
//! with 2 where the configuration is at fault, 1 where something else is.

use std::time::Duration;

use crate::harness::command::{Answer, Project, answer, walhook};
use crate::harness::receiver::Receiver;
use crate::harness::walhook::{Installation, ORDER_RULES, ORDERS};
use crate::harness::{TestDatabase, connect, start_postgres, stop_at_exit};

const INSERT: &str = "insert into orders (tenant_id, status) values ('acme', 'new')";

/// `walhook run`, which is expected to end by itself, also at a gap.
pub async fn run(installation: &Installation) -> Answer {
    let mut run = walhook();
    run.arg("--config")
        .arg(installation.config_file())
        .arg("run")
        .env("WALHOOK_SOURCE__ON_GAP", "stop");
    let ended = tokio::time::timeout(Duration::from_secs(60), run.output()).await;
    answer(ended.expect("it goes on").unwrap())
}

/// Drops the slot as soon as nobody holds it: a walsender may outlive its client.
pub async fn drop_slot(installation: &Installation) {
    let slot = installation.database.slot();
    let free = format!("select not active from pg_replication_slots where slot_name = '{slot}'");
    installation.wait_for(&free).await;
    let drop = "select pg_drop_replication_slot($1)";
    let client = &installation.database.client;
    client.execute(drop, &[&slot]).await.unwrap();
}

/// What a refused start leaves behind: nothing.
async fn assert_nothing_taken(installation: &Installation) {
    let slot = installation.database.slot();
    let active =
        format!("select count(*) from pg_replication_slots where slot_name = '{slot}' and active");
    assert_eq!(installation.count(&active).await, 0);
    let taken = "select count(*) from replication_progress where leader is not null";
    assert_eq!(installation.count(taken).await, 0);
    // One that had begun and then failed would still be there: only a drain takes it out.
    let instances = "select count(*) from instances";
    assert_eq!(installation.count(instances).await, 0);
}

#[tokio::test]
async fn a_rule_that_does_not_fit_its_table_is_a_configuration_error_with_its_line() {
    for (from, to, line, said) in [
        (
            "on = ['insert']",
            "on = ['insert']\nwhen = \"statsu = 'new'\"",
            "when",
            "has no column `statsu`; did you mean `status`?",
        ),
        (
            "table = 'public.orders'\non = ['update']",
            "table = 'public.ordres'\non = ['update']",
            "table = 'public.ordres'",
            "did you mean `public.orders`?",
        ),
        (
            "when = \"became(status = 'paid')\"",
            "when = \"became('status',\"",
            "when",
            "column 16: `became` takes one condition, as in became(status = 'paid')",
        ),
        (
            "on = ['update']",
            "on = ['update']\ntenant = 'tenant'",
            "tenant",
            "did you mean `tenant_id`?",
        ),
        (
            "type = 'order.paid'",
            "tpye = 'order.paid'",
            "tpye",
            "`type`",
        ),
    ] {
        let mut installation = Installation::of_orders().await;
        installation.edit(from, to);
        let text = std::fs::read_to_string(installation.config_file()).unwrap();
        let mut lines = text.lines();
        let number = lines.position(|text| text.starts_with(line)).unwrap() + 1;
        let place = format!("walhook.toml:{number}: ");
        run(&installation).await.exits(2).says(&place).says(said);
        assert_nothing_taken(&installation).await;
    }
}

#[tokio::test]
async fn old_values_that_the_log_does_not_carry_are_refused_with_the_way_out() {
    let mut installation = Installation::of_orders().await;
    installation.edit("on = ['update']", "on = ['update']\nold_values = 'full'");
    let client = &installation.database.client;
    let identity = "alter table orders replica identity default";
    client.batch_execute(identity).await.unwrap();
    run(&installation)
        .await
        .exits(2)
        .says("events[1]")
        .says("alter table public.orders replica identity full;");
    assert_nothing_taken(&installation).await;
}

#[tokio::test]
async fn a_url_that_cannot_be_read_is_a_configuration_error() {
    let mut installation = Installation::of_orders().await;
    installation.edit("sslmode=disable", "sslmod=disable");
    let answer = run(&installation).await.exits(2);
    answer.says("source.url").says("did you mean `sslmode`?");
}

#[tokio::test]
async fn a_key_and_a_store_that_are_not_there_are_to_be_set_up() {
    let database = TestDatabase::create().await;
    database.client.batch_execute(ORDERS).await.unwrap();
    let project = Project::of(&database, ORDER_RULES);
    let answer = project.walhook(&["run"]).await.exits(1);
    answer.says("walhook.key").says("run `walhook setup`");
    let key = project.directory.path().join("walhook.key");
    ::walhook::secret::EncryptionKey::create(&key).unwrap();
    let answer = project.walhook(&["run"]).await.exits(1);
    answer.says("is not set up").says("run `walhook setup`");
}

#[tokio::test]
async fn another_key_is_named_and_no_secret_is() {
    let installation = Installation::of_orders().await;
    let subscribed = installation
        .subscribe("acme", "https://example.com/", &["*"])
        .await;
    let key = installation.directory.path().join("walhook.key");
    std::fs::remove_file(&key).unwrap();
    ::walhook::secret::EncryptionKey::create(&key).unwrap();
    let answer = run(&installation).await.exits(1);
    let answer = answer
        .says("security.encryption_key_file")
        .says("Give this node the key file");
    assert!(!answer.err.contains(&subscribed.secret));
    assert_nothing_taken(&installation).await;
}

#[tokio::test]
async fn a_port_in_use_is_named_before_anything_is_taken() {
    let mut installation = Installation::of_orders().await;
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    installation.edit("127.0.0.1:0", &address);
    let answer = run(&installation).await.exits(1);
    answer.says("api.listen").says(&address).says("in use");
    assert_nothing_taken(&installation).await;
}

#[tokio::test]
async fn a_key_for_jwts_that_cannot_be_used_is_named_before_anything_is_taken() {
    let mut installation = Installation::of_orders().await;
    let jwt = "[api.jwt]\nalgorithm = 'HS256'\nkey_file = 'jwt.key'\n[api]";
    installation.edit("[api]", jwt);
    let file = installation.directory.path().join("jwt.key");
    let named = format!("`{}`", file.display());
    let answer = run(&installation).await.exits(1);
    answer.says("api.jwt.key_file").says(&named);
    assert_nothing_taken(&installation).await;
    std::fs::write(&file, "too short\n").unwrap();
    let answer = run(&installation).await.exits(1);
    answer.says("HS256 needs 32 or more");
    assert_nothing_taken(&installation).await;
    // It does not even wait for a store that is away.
    let store = "[store]\nurl = 'postgres://u@127.0.0.1:1/none'\n[api.jwt]";
    installation.edit("[api.jwt]", store);
    let answer = run(&installation).await.exits(1);
    answer.says("HS256 needs 32 or more");
}

#[tokio::test]
async fn a_machine_without_root_certificates_is_named_before_anything_is_taken() {
    let installation = Installation::of_orders().await;
    let mut command = walhook();
    let none = tempfile::tempdir().unwrap();
    command
        .arg("--config")
        .arg(installation.config_file())
        .arg("run")
        .env("SSL_CERT_FILE", "/dev/null")
        .env("SSL_CERT_DIR", none.path());
    let ended = tokio::time::timeout(Duration::from_secs(30), command.output()).await;
    let answer = answer(ended.expect("it goes on").unwrap()).exits(1);
    answer.says("certificate");
    assert_nothing_taken(&installation).await;
}

#[tokio::test]
async fn a_slot_that_was_never_made_is_to_be_set_up() {
    let installation = Installation::of_orders().await;
    drop_slot(&installation).await;
    let client = installation.store.get().await.unwrap();
    let forget = "delete from replication_progress";
    client.batch_execute(forget).await.unwrap();
    let answer = run(&installation)
        .await
        .exits(1)
        .says("run `walhook setup`");
    assert!(!answer.err.contains("--accept-gap"), "{}", answer.err);
    // Nor is there a publication: the same way out.
    let drop = "drop publication walhook";
    let application = &installation.database.client;
    application.batch_execute(drop).await.unwrap();
    let answer = run(&installation)
        .await
        .exits(1)
        .says("run `walhook setup`");
    assert!(!answer.err.contains("--accept-gap"), "{}", answer.err);
}

#[tokio::test]
async fn a_slot_that_was_dropped_is_a_gap_that_is_recorded_once() {
    let installation = Installation::of_orders().await;
    drop_slot(&installation).await;
    for _ in 0..2 {
        run(&installation)
            .await
            .exits(1)
            .says("it was dropped")
            .says("walhook setup --accept-gap");
    }
    let open = "select count(*) from gaps, replication_progress p
        where accepted_at is null and not wedged and from_lsn = p.acknowledged_lsn
            and reason like '%was dropped%' and reason not like '%accept-gap%'";
    assert_eq!(installation.count(open).await, 1);
    assert_eq!(installation.count("select count(*) from gaps").await, 1);
}

#[tokio::test]
async fn a_slot_that_somebody_moved_is_a_gap() {
    let installation = Installation::of_orders().await;
    let client = &installation.database.client;
    client.batch_execute(INSERT).await.unwrap();
    let moved = "select end_lsn::text from pg_replication_slot_advance($1, pg_current_wal_lsn())";
    let slot = installation.database.slot();
    let moved: String = client.query_one(moved, &[&slot]).await.unwrap().get(0);
    let recorded = "select acknowledged_lsn::text from walhook.replication_progress";
    let recorded: String = client.query_one(recorded, &[]).await.unwrap().get(0);
    let answer = run(&installation).await.exits(1);
    answer
        .says("moved ahead")
        .says(&moved)
        .says(&recorded)
        .says("--accept-gap");
    assert_eq!(
        installation
            .count("select count(*) from webhook_events")
            .await,
        0
    );
}

#[tokio::test]
async fn a_publication_that_is_missing_is_a_gap_also_after_it_was_made_again() {
    let installation = Installation::of_orders().await;
    let client = &installation.database.client;
    let drop = "drop publication walhook";
    client.batch_execute(drop).await.unwrap();
    let missing = "publication `walhook` does not exist";
    let answer = run(&installation).await.exits(1);
    answer.says(missing).says("--accept-gap");
    client.batch_execute(INSERT).await.unwrap();
    let again = "create publication walhook for table orders";
    client.batch_execute(again).await.unwrap();
    // The catalog looks well now; the stream knows better, and says so to the others.
    run(&installation).await.exits(1).says("--accept-gap");
    let project = Project {
        directory: installation.directory,
    };
    for command in ["check", "setup", "status"] {
        let answer = project.walhook(&[command]).await.exits(1);
        answer.says(missing).says("--accept-gap");
    }
}

#[tokio::test]
async fn another_system_and_an_older_copy_are_gaps() {
    let installation = Installation::of_orders().await;
    let client = installation.store.get().await.unwrap();
    for (change, said) in [
        ("timeline = 2", "does not descend from timeline 2"),
        (
            "timeline = 1, acknowledged_lsn = 'FFFF/0'",
            "restored from an older copy",
        ),
        ("system_identifier = '42'", "recorded on 42"),
    ] {
        let change = format!("update replication_progress set {change}");
        client.batch_execute(&change).await.unwrap();
        let answer = run(&installation).await.exits(1);
        answer.says(said).says("--accept-gap");
    }
}

/// A value that is no UTF-8: a database in SQL_ASCII takes any bytes.
#[tokio::test]
async fn a_value_that_cannot_be_sent_is_parked_with_its_place_and_the_stream_goes_on() {
    let ascii = TestDatabase::create_encoded("SQL_ASCII").await;
    let store = TestDatabase::create().await;
    let settings = format!("[store]\nurl = '{}'\n", store.url);
    let installation = Installation::create_in(ascii, ORDERS, ORDER_RULES, &settings).await;
    let receiver = Receiver::start().await;
    installation
        .subscribe("acme", &receiver.url("/"), &["order.created"])
        .await;
    let running = installation.start();
    installation
        .database
        .client
        .batch_execute(
            "insert into orders (tenant_id, status, note) values
                ('acme', 'new', E'caf\\351'), (E'acm\\351', 'new', null), ('acme', 'new', 'good')",
        )
        .await
        .unwrap();
    let requests = receiver.wait_for(1).await;
    running.stop().await;
    assert_eq!(receiver.requests().len(), 1);
    assert_eq!(requests[0].json()["data"]["note"], "good");
    // Beside the good row, in commit and order, without the value.
    let parked = "select count(*) from parked_changes p, webhook_events e
        where p.commit_lsn = e.commit_lsn and e.ordinal = 2 and relation = 'public.orders'
            and ((p.ordinal, reason) in ((0, 'unmappable'), (1, 'unroutable')))
            and detail like '%UTF-8%' and detail not like '%caf%' and detail not like '%acm%'";
    assert_eq!(installation.count(parked).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_is_followed_unless_it_lost_what_was_sent() {
    let server = start_postgres(&[("shared_buffers", "32MB")]).unwrap();
    stop_at_exit(&server);
    let database = TestDatabase::create_on(&server).await;
    let installation = Installation::create_in(database, ORDERS, ORDER_RULES, "").await;
    let receiver = Receiver::start().await;
    installation
        .subscribe("acme", &receiver.url("/"), &["*"])
        .await;
    let insert = installation.database.client.batch_execute(INSERT);
    insert.await.unwrap();
    let running = installation.start();
    receiver.wait_for(1).await;
    running.stop().await;

    tokio::task::block_in_place(|| {
        server.stop().unwrap();
        std::fs::write(server.data_directory().join("standby.signal"), "").unwrap();
        server.boot().unwrap();
    });
    let application = connect(&installation.database.url).await;
    let promote = "select pg_promote()";
    application.query_one(promote, &[]).await.unwrap();
    application.batch_execute(INSERT).await.unwrap();

    // As if more had been sent of timeline 1 than the promoted server has of it.
    let client = installation.store.get().await.unwrap();
    let beyond =
        "create table was as select commit_lsn, acknowledged_lsn from replication_progress;
        update replication_progress
        set commit_lsn = pg_current_wal_lsn(), acknowledged_lsn = pg_current_wal_lsn()";
    client.batch_execute(beyond).await.unwrap();
    let answer = run(&installation).await.exits(1);
    answer
        .says("on timeline 2, which left timeline 1 at")
        .says("without commits whose events may have been sent")
        .says("--accept-gap");

    let back = "update replication_progress p
        set commit_lsn = was.commit_lsn, acknowledged_lsn = was.acknowledged_lsn from was";
    client.batch_execute(back).await.unwrap();
    let running = installation.start();
    receiver.wait_for(2).await;
    running.stop().await;
    assert_eq!(receiver.requests().len(), 2);
    let timeline = "select timeline::bigint from replication_progress";
    assert_eq!(installation.count(timeline).await, 2);
}
