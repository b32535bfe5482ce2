//! Rows and transactions larger than memory.

use super::MEMORY;
use crate::harness::process::Process;
use crate::harness::receiver::Receiver;
use crate::harness::walhook::{Installation, ORDER_RULES, ORDERS};

const DOCUMENTS: &str = "create table documents (id bigint primary key, tenant_id text not null, \
     status text not null, content text)";

/// Two rules that the large column does not concern, and one that needs it.
const DOCUMENT_RULES: &str = "
[[events]]
type = 'document.created'
table = 'public.documents'
on = ['insert']
data = ['id', 'status']

[[events]]
type = 'document.signed'
table = 'public.documents'
on = ['update']
when = \"became(status = 'signed')\"
data = ['id', 'status']

[[events]]
type = 'document.stored'
table = 'public.documents'
when = 'id > 0'
";

const MIB: i64 = 1024 * 1024;

/// The rules that are told from the rest of the row are so; the one that needs what was
/// passed over is parked, and names the row. What the shadow knows of the row goes on.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_hundred_megabytes_cost_no_memory() {
    let walhook = Installation::create(DOCUMENTS, DOCUMENT_RULES, "").await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let process = Process::start(&walhook.config_file(), &["run"]);
    walhook
        .wait_for("select count(*) = 1 from shadow_rules")
        .await;
    let large = "repeat('x', 100 * 1024 * 1024)";
    let application = &walhook.database.client;
    application
        .batch_execute(&format!(
            "insert into documents select n, 'acme', 'draft', {large} from generate_series(1, 3) n;
             update documents set status = 'signed', content = {large} || id where id = 1;
             update documents set status = 'signed', content = 'short' where id = 1;
             update documents set status = 'draft' where id = 1;
             update documents set status = 'signed' where id = 1;
             insert into documents values (9, 'acme', 'draft', 'small')"
        ))
        .await
        .unwrap();
    walhook
        .wait_for("select count(*) = 10 from webhook_deliveries where status = 'delivered'")
        .await;
    let peak = process.peak_memory();
    assert!(process.terminate().success());
    assert!(peak <= MEMORY, "{peak} MiB");

    let mut sent: Vec<_> = receiver
        .requests()
        .iter()
        .map(|request| request.json())
        .filter(|event| event["type"] != "document.stored")
        .map(|event| format!("{} {}", event["sequence"], event["type"]))
        .collect();
    sent.sort();
    let types: Vec<_> = sent
        .iter()
        .map(|line| line.rsplit(' ').next().unwrap().trim_matches('"'))
        .collect();
    let (created, signed) = ("document.created", "document.signed");
    assert_eq!(types, [created, created, created, signed, signed, created]);

    let client = walhook.store.get().await.unwrap();
    let parked = client
        .query(
            "select relation, rule, reason, row_key, row_bytes, commit_lsn > '0/0', detail
             from parked_changes order by commit_lsn, ordinal",
            &[],
        )
        .await
        .unwrap();
    let keys: Vec<&str> = parked.iter().map(|row| row.get("row_key")).collect();
    assert_eq!(keys, ["1", "2", "3", "1"]);
    for row in &parked {
        assert_eq!(row.get::<_, &str>("relation"), "public.documents");
        assert_eq!(
            row.get::<_, &str>("rule"),
            "document.stored@public.documents"
        );
        assert_eq!(row.get::<_, &str>("reason"), "oversized");
        assert!(row.get::<_, i64>("row_bytes") > 100 * MIB);
        assert!(row.get::<_, bool>(5), "no LSN");
        let detail: &str = row.get("detail");
        assert!(detail.contains("column `content` has 1048576"), "{detail}");
        assert!(detail.contains("source.max_row"), "{detail}");
    }
    let log = std::fs::read_to_string(walhook.directory.path().join("walhook.log")).unwrap();
    let said = |text: &str| {
        log.lines()
            .any(|line| line.contains("a change was parked") && line.contains(text))
    };
    assert!(said("oversized") && said("source.max_row"), "{log}");
}

/// Below the limit a row is held, made an event and stored, whatever it takes to write it
/// as JSON: a control character takes six bytes. Its deliveries are parked.
#[tokio::test(flavor = "multi_thread")]
async fn rows_just_below_the_limit_are_stored_within_the_memory() {
    let walhook = Installation::create(DOCUMENTS, DOCUMENT_RULES, "").await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let process = Process::start(&walhook.config_file(), &["run"]);
    walhook
        .database
        .client
        .batch_execute(
            "insert into documents
             select n, 'acme', 'draft', repeat(e'\\t\\u0001x', 2600000) from generate_series(1, 5) n",
        )
        .await
        .unwrap();
    walhook
        .wait_for("select count(*) = 10 from webhook_events")
        .await;
    walhook
        .wait_for("select count(*) = 5 from delivery_schedule where status = 'parked'")
        .await;
    let peak = process.peak_memory();
    assert!(process.terminate().success());
    assert!(peak <= MEMORY, "{peak} MiB");
    assert_eq!(
        walhook
            .count("select count(*) from webhook_events where octet_length(body) > 23000000")
            .await,
        5
    );
}

/// Under FULL the WAL carries the large value twice, and of a deletion too. Nothing of the
/// row that a rule does not need keeps it from being told.
#[tokio::test]
async fn under_full_identity_the_old_row_is_passed_over_too() {
    let tables = format!("{DOCUMENTS}; alter table documents replica identity full");
    let rules = DOCUMENT_RULES.replace("when = 'id > 0'", "on = ['delete']");
    let mut walhook = Installation::create(&tables, &rules, "").await;
    walhook.edit("[source]\n", "[source]\nmax_row = 65536\n");
    let running = walhook.start();
    let large = "repeat('x', 100000)";
    let application = &walhook.database.client;
    application
        .batch_execute(&format!(
            "insert into documents values (1, 'acme', 'draft', {large}), (2, 'acme', 'draft', repeat('x', 60000));
             update documents set status = 'signed';
             delete from documents"
        ))
        .await
        .unwrap();
    walhook
        .wait_for("select count(*) = 5 from webhook_events")
        .await;
    walhook
        .wait_for("select count(*) = 1 from parked_changes")
        .await;
    running.stop().await;
    let client = walhook.store.get().await.unwrap();
    let told = client
        .query(
            "select event_type, split_part(row_key, ':', 2) from webhook_events order by commit_lsn, ordinal",
            &[],
        )
        .await
        .unwrap();
    let told: Vec<_> = told
        .iter()
        .map(|row| format!("{} {}", row.get::<_, &str>(0), row.get::<_, &str>(1)))
        .collect();
    // The smaller row is twice 60,000 bytes in its update, and below the limit when it is deleted.
    assert_eq!(
        told,
        [
            "document.created 1",
            "document.created 2",
            "document.signed 1",
            "document.signed 2",
            "document.stored 2",
        ]
    );
    let parked = client
        .query_one("select reason, row_key, row_bytes from parked_changes", &[])
        .await
        .unwrap();
    assert_eq!(parked.get::<_, &str>(0), "oversized");
    assert_eq!(parked.get::<_, &str>(1), "1");
    assert!(parked.get::<_, i64>(2) > 100_000);

    // Without the large value the deletion can be told after all.
    walhook.edit(
        "on = ['delete']",
        "on = ['delete']\ndata = ['id', 'status']",
    );
    let running = walhook.start();
    walhook
        .wait_for("select count(*) = 0 from parked_changes")
        .await;
    running.stop().await;
    let told = "select count(*) from webhook_events where event_type = 'document.stored'";
    assert_eq!(walhook.count(told).await, 2);
}

/// A logical message of the application's, of which nobody here has any use.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_logical_message_of_the_application_is_passed_over() {
    let walhook = Installation::of_orders().await;
    let process = Process::start(&walhook.config_file(), &["run"]);
    walhook
        .database
        .client
        .batch_execute(
            "select pg_logical_emit_message(true, 'app', repeat('x', 200 * 1024 * 1024));
             insert into orders (tenant_id, status) values ('acme', 'new')",
        )
        .await
        .unwrap();
    walhook
        .wait_for("select count(*) = 1 from webhook_events")
        .await;
    let peak = process.peak_memory();
    assert!(process.terminate().success());
    assert!(peak <= MEMORY, "{peak} MiB");
}

/// The server spools it and sends it at its commit; it is stored in parts.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_costs_no_memory() {
    let walhook = Installation::create(ORDERS, ORDER_RULES, "").await;
    walhook
        .database
        .client
        .batch_execute(
            "insert into orders (tenant_id, status, note)
             select 'acme', 'new', repeat(n::text, 250) from generate_series(1, 40000) n",
        )
        .await
        .unwrap();
    let process = Process::start(&walhook.config_file(), &["run", "--roles", "capture"]);
    walhook
        .wait_for("select complete and ordinal = 39999 from replication_progress")
        .await;
    let peak = process.peak_memory();
    assert!(process.terminate().success());
    assert!(peak <= MEMORY, "{peak} MiB");
    let events = "select count(distinct ordinal) from webhook_events";
    assert_eq!(walhook.count(events).await, 40_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_no_index_of_the_store_takes_is_parked() {
    let walhook = Installation::of_orders().await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    let insert =
        |tenant: &str| format!("insert into orders (tenant_id, status) values ({tenant}, 'new')");
    let application = &walhook.database.client;
    // Random, as the server compresses what goes into an index.
    let long = "(select string_agg(md5(random()::text), '') from generate_series(1, 200))";
    for tenant in [long, "'acme'"] {
        application.batch_execute(&insert(tenant)).await.unwrap();
    }
    receiver.wait_for(1).await;
    walhook
        .wait_for(
            "select count(*) = 1 from parked_changes
             where reason = 'unroutable' and detail like '%has 6400 bytes: at most 1024%'",
        )
        .await;
    running.stop().await;
}
