//! Gaps as the operator of a running walhook sees them: noticed, named, on `/readyz`, in
//! the metrics and in `status`, and closed by `walhook setup --accept-gap` alone.

use super::{quiet_orders, quiet_server};
use crate::harness::TestDatabase;
use crate::harness::operated::Operated;
use crate::harness::receiver::{Receiver, Request};
use crate::harness::walhook::{Installation, ORDER_RULES, ORDERS};

const PAYMENTS: &str = "create table payments (id bigint generated always as identity primary key, \
     tenant_id text, status text not null)";
const PAYMENT_RULE: &str =
    "[[events]]\ntype = 'payment.created'\ntable = 'public.payments'\non = ['insert']\n";
pub(super) const ORDER: &str = "insert into orders (tenant_id, status) values ('acme', 'new')";
const PAYMENT: &str = "insert into payments (tenant_id, status) values ('acme', 'new')";

/// Two tables, of which one will have a gap.
async fn two_tables() -> Installation {
    let database = TestDatabase::create_on(quiet_server()).await;
    let rules = format!("{ORDER_RULES}{PAYMENT_RULE}");
    Installation::create_in(database, &format!("{ORDERS}; {PAYMENTS}"), &rules, "").await
}

fn types(requests: &[Request]) -> Vec<String> {
    let of = |request: &Request| request.json()["type"].as_str().unwrap().to_owned();
    requests.iter().map(of).collect()
}

pub(super) async fn subscribed(installation: &Installation) -> Receiver {
    let receiver = Receiver::start().await;
    installation
        .subscribe("acme", &receiver.url("/"), &["*"])
        .await;
    receiver
}

/// `status` names the gap, setup keeps it open without the option and closes it with it.
pub(super) async fn is_closed_by_accepting(walhook: &Operated, kind: &str, said: &str) {
    let line = format!("walhook_gaps_total{{reason=\"{kind}\"}}");
    walhook.wait_metric(&line, |found| found >= 1.0).await;
    walhook
        .wait_metric("walhook_gaps_open ", |open| open >= 1.0)
        .await;
    let status = walhook.walhook(&["status", "--json"]).await.exits(1).json();
    let open = status["gaps"]["open"].as_array().unwrap();
    let gap = open.iter().find(|gap| gap["kind"] == kind).unwrap();
    assert!(gap["reason"].as_str().unwrap().contains(said), "{gap}");
    assert!(gap["from_lsn"].as_str().unwrap().contains('/'));
    let status = walhook.walhook(&["status"]).await.exits(1);
    status.says("PROBLEM").says(said).says("--accept-gap");

    let accepted = walhook.walhook(&["setup", "--accept-gap"]).await.exits(0);
    accepted.says("NOT delivered").says(said);
    walhook.wait_ready(200, &["ready"]).await;
    walhook
        .wait_metric("walhook_gaps_open ", |open| open == 0.0)
        .await;
    let left = "select count(*) from gaps where accepted_at is null";
    assert_eq!(walhook.installation.count(left).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_taken_out_and_put_back_stops_no_other() {
    let walhook = Operated::start(two_tables().await);
    let receiver = subscribed(&walhook.installation).await;
    walhook.wait_ready(200, &["ready"]).await;
    walhook.sql(ORDER).await;
    receiver.wait_for(1).await;

    walhook
        .sql("alter publication walhook drop table orders")
        .await;
    let said = "table public.orders was taken out of the publication";
    walhook.wait_ready(503, &["table_unpublished", said]).await;
    walhook.sql(ORDER).await;
    walhook.sql(PAYMENT).await;
    let requests = receiver.wait_for(2).await;
    assert_eq!(types(&requests)[1], "payment.created");

    // Setup puts it back; the gap stays open, and now has an end.
    let setup = walhook.walhook(&["setup"]).await.exits(0);
    setup.says("OPEN").says(said).says("--accept-gap");
    walhook
        .wait_ready(503, &["after which capture went on"])
        .await;
    walhook.sql(ORDER).await;
    let requests = receiver.wait_for(3).await;
    assert_eq!(types(&requests)[2], "order.created");
    is_closed_by_accepting(&walhook, "table_unpublished", said).await;
    assert_eq!(
        walhook
            .installation
            .count("select count(*) from webhook_events")
            .await,
        3
    );
    assert!(walhook.process.terminate().success());
}

/// Between two looks: the membership is another, and nothing else tells.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_taken_out_and_put_back_at_once_is_noticed() {
    let walhook = Operated::start(two_tables().await);
    walhook.wait_ready(200, &["ready"]).await;
    walhook
        .installation
        .wait_for("(select count(*) from published_tables) = 2")
        .await;
    let change = "alter publication walhook drop table orders; \
         alter publication walhook add table only orders";
    walhook.sql(change).await;
    let said = "table public.orders was taken out of the publication and put back";
    walhook
        .wait_ready(503, &["table_unpublished", said, "after which"])
        .await;
    is_closed_by_accepting(&walhook, "table_unpublished", said).await;
    assert!(walhook.process.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_dropped_and_made_again_while_walhook_was_down() {
    let installation = two_tables().await;
    let recreate = format!(
        "drop table orders; {ORDERS}; alter publication walhook add table only orders; {ORDER}"
    );
    let application = &installation.database.client;
    application.batch_execute(&recreate).await.unwrap();
    let walhook = Operated::start(installation);
    let said = "table public.orders was dropped and made again";
    walhook.wait_ready(503, &["table_recreated", said]).await;
    is_closed_by_accepting(&walhook, "table_recreated", said).await;
    assert!(walhook.process.terminate().success());
}

/// The server answers the watch, with errors: no connection is silent.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_cannot_look_says_so_until_it_can() {
    let walhook = Operated::start(quiet_orders().await);
    walhook.wait_ready(200, &["ready"]).await;
    // Only the watch reads it while capture runs.
    walhook.sql("alter table walhook.gaps rename to away").await;
    let failed = "cannot look at the slot and what is published";
    walhook
        .wait_logged(&format!("{failed}; trying again"))
        .await;
    walhook.wait_ready(503, &["were not looked at"]).await;
    walhook.sql("alter table walhook.away rename to gaps").await;
    walhook.wait_logged(&format!("over: {failed}")).await;
    walhook.wait_ready(200, &["ready"]).await;
    assert!(walhook.process.terminate().success());
}

/// Nothing was written meanwhile, so that the stream itself would never tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_publication_dropped_and_made_again_while_all_was_quiet() {
    let walhook = Operated::start(two_tables().await);
    walhook.wait_ready(200, &["ready"]).await;
    let recreate = "begin; drop publication walhook; create publication walhook \
         for table only orders, only payments with (publish_via_partition_root = true); commit";
    walhook.sql(recreate).await;
    let said = "is in another publication than before";
    walhook
        .wait_ready(503, &["publication_recreated", said])
        .await;
    is_closed_by_accepting(&walhook, "publication_recreated", said).await;
    assert!(walhook.process.terminate().success());
}

/// Capture is paused, what was enqueued is delivered, and it goes on by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_dropped_under_a_running_walhook() {
    let walhook = Operated::start(quiet_orders().await);
    let receiver = subscribed(&walhook.installation).await;
    walhook.wait_ready(200, &["ready"]).await;
    walhook.sql(ORDER).await;
    receiver.wait_for(1).await;
    let slot = walhook.installation.database.slot();
    // The walsender is ended and its slot dropped before anybody can take it again.
    let drop = format!(
        "do $$ begin
            loop
                perform pg_terminate_backend(active_pid) from pg_replication_slots
                    where slot_name = '{slot}' and active;
                begin
                    perform pg_drop_replication_slot('{slot}');
                    return;
                exception when object_in_use then null;
                end;
            end loop;
        end $$"
    );
    walhook.sql(&drop).await;
    walhook.sql(ORDER).await;
    let said = "was dropped";
    walhook
        .wait_ready(503, &["does not exist", said, "--accept-gap"])
        .await;
    is_closed_by_accepting(&walhook, "slot_dropped", said).await;
    walhook.sql(ORDER).await;
    receiver.wait_for(2).await;
    assert!(walhook.process.terminate().success());
    assert_eq!(receiver.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_made_anew_and_a_foreign_one_under_its_name() {
    let installation = quiet_orders().await;
    let slot = installation.database.slot();
    let application = &installation.database.client;
    let recreate = format!(
        "select pg_drop_replication_slot('{slot}');
         select pg_create_logical_replication_slot('{slot}', 'pgoutput')"
    );
    application.batch_execute(ORDER).await.unwrap();
    application.batch_execute(&recreate).await.unwrap();
    let walhook = Operated::start(installation);
    walhook
        .wait_ready(503, &["or made again there, by somebody else"])
        .await;
    is_closed_by_accepting(&walhook, "slot_moved", "or made again there").await;
    let (installation, process) = (walhook.installation, walhook.process);
    assert!(process.terminate().success());

    let application = &installation.database.client;
    let foreign = format!(
        "select pg_drop_replication_slot('{slot}'); select pg_create_physical_replication_slot('{slot}')"
    );
    application.batch_execute(&foreign).await.unwrap();
    let config = installation.config_file();
    let process = crate::harness::process::Process::start(&config, &["run"]);
    installation
        .wait_for("exists (select from gaps where kind = 'slot_foreign' and accepted_at is null)")
        .await;
    // Not walhook's to drop: with it gone the gap is a dropped slot's.
    let drop = format!("select pg_drop_replication_slot('{slot}')");
    application.batch_execute(&drop).await.unwrap();
    let mut command = crate::harness::command::walhook();
    command
        .arg("--config")
        .arg(&config)
        .args(["setup", "--accept-gap"]);
    let accepted = crate::harness::command::answer(command.output().await.unwrap());
    accepted.exits(0).says("NOT delivered");
    installation
        .wait_for("not exists (select from gaps where accepted_at is null)")
        .await;
    assert!(process.terminate().success());
}
