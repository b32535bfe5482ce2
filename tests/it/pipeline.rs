//! From a committed row to a signed webhook.

use std::collections::{HashMap, HashSet};

use crate::harness::connect;
use crate::harness::receiver::{Receiver, status};
use crate::harness::walhook::{Installation, ORDER_RULES, ORDERS};

#[tokio::test]
async fn a_committed_row_reaches_its_tenants_subscriber_signed() {
    let walhook = Installation::of_orders().await;
    let receiver = Receiver::start().await;
    let acme = walhook
        .subscribe("acme", &receiver.url("/acme"), &["order.*"])
        .await;
    let globex = walhook
        .subscribe("globex", &receiver.url("/globex"), &["order.paid"])
        .await;
    let running = walhook.start();
    let application = &walhook.database.client;
    application
        .batch_execute(
            "insert into orders (tenant_id, status) values ('acme', 'new'), ('globex', 'new');
             update orders set status = 'paid';
             update orders set note = 'again' where status = 'paid'",
        )
        .await
        .unwrap();
    application
        .batch_execute(
            "begin; insert into orders (tenant_id, status) values ('acme', 'rolled back'); rollback",
        )
        .await
        .unwrap();
    let requests = receiver.wait_for(3).await;
    walhook
        .wait_for("select count(*) = 3 and count(*) filter (where status = 'delivered') = 3 from webhook_deliveries")
        .await;
    running.stop().await;

    assert_eq!(receiver.requests().len(), 3);
    for request in &requests {
        match request.path.as_str() {
            "/acme" => acme.verify(request),
            _ => globex.verify(request),
        }
    }
    let of = |path| requests.iter().filter(move |request| request.path == path);
    let mut types: Vec<_> = of("/acme")
        .map(|request| request.json()["type"].clone())
        .collect();
    types.sort_by_key(ToString::to_string);
    assert_eq!(types, ["order.created", "order.paid"]);
    let paid = of("/globex").next().unwrap().json();
    assert_eq!(paid["type"], "order.paid");
    assert_eq!(paid["tenant_id"], "globex");
    assert_eq!(paid["data"]["status"], "paid");
    assert_eq!(paid["previous"]["status"], "new");
    assert_eq!(paid["id"], of("/globex").next().unwrap().id());
    let attempts = "select sum(attempts) from webhook_deliveries";
    assert_eq!(walhook.count(attempts).await, 3);
    assert_eq!(
        walhook
            .count("select count(*) from delivery_schedule")
            .await,
        0
    );
    assert_eq!(walhook.count("select count(*) from instances").await, 0);
}

#[tokio::test]
async fn what_happened_while_it_was_down_is_sent_and_nothing_twice() {
    let walhook = Installation::of_orders().await;
    let receiver = Receiver::start().await;
    walhook
        .subscribe("acme", &receiver.url("/"), &["order.created"])
        .await;
    let insert =
        "insert into orders (tenant_id, status) select 'acme', 'new' from generate_series(1, 50)";
    for round in 1..=3 {
        walhook.database.client.batch_execute(insert).await.unwrap();
        let running = walhook.start();
        receiver.wait_for(round * 50).await;
        running.stop().await;
    }
    let requests = receiver.requests();
    let ids: HashSet<_> = requests
        .iter()
        .map(|request| request.id().to_owned())
        .collect();
    assert_eq!((requests.len(), ids.len()), (150, 150));
}

#[tokio::test]
async fn a_failing_endpoint_is_retried_with_the_same_bytes_and_then_given_up() {
    let settings = "[delivery]\nretry_schedule = ['100ms', '100ms']\n";
    let walhook = Installation::create(ORDERS, ORDER_RULES, settings).await;
    let receiver = Receiver::answering(|path, count| match path {
        "/recovers" if count == 3 => status(204),
        _ => status(500),
    })
    .await;
    walhook
        .subscribe("acme", &receiver.url("/recovers"), &["*"])
        .await;
    walhook
        .subscribe("acme", &receiver.url("/never"), &["*"])
        .await;
    let running = walhook.start();
    let insert = "insert into orders (tenant_id, status) values ('acme', 'new')";
    walhook.database.client.batch_execute(insert).await.unwrap();
    let requests = receiver.wait_for(6).await;
    walhook
        .wait_for("select count(*) = 2 from webhook_deliveries where status in ('delivered', 'failed') and attempts = 3")
        .await;
    running.stop().await;

    let mut by_path: HashMap<&str, HashSet<(&str, &[u8])>> = HashMap::new();
    for request in &requests {
        by_path
            .entry(&request.path)
            .or_default()
            .insert((request.id(), &request.body));
    }
    assert!(
        by_path.values().all(|same| same.len() == 1),
        "id or bytes changed"
    );
    assert_eq!(
        walhook.count("select count(*) from webhook_attempts").await,
        6
    );
    let failed = "select count(*) from delivery_schedule where status = 'failed'";
    assert_eq!(walhook.count(failed).await, 1);
    assert_eq!(
        walhook
            .count("select count(*) from delivery_schedule")
            .await,
        1
    );
}

#[tokio::test]
async fn gone_disables_the_subscription() {
    let walhook = Installation::of_orders().await;
    let receiver = Receiver::answering(|_, _| status(410)).await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    let insert = "insert into orders (tenant_id, status) values ('acme', 'new')";
    walhook.database.client.batch_execute(insert).await.unwrap();
    walhook
        .wait_for("select not active from webhook_subscriptions")
        .await;
    walhook.database.client.batch_execute(insert).await.unwrap();
    walhook
        .wait_for("select count(*) = 2 from webhook_events")
        .await;
    running.stop().await;
    assert_eq!(receiver.requests().len(), 1);
    assert_eq!(
        walhook
            .count("select count(*) from webhook_deliveries")
            .await,
        1
    );
    let entered = "select count(*) from audit_log where action = 'subscription.disable'
        and principal_kind = 'walhook' and tenant_id = 'acme'
        and after ->> 'disabled_reason' like '%410%'";
    assert_eq!(walhook.count(entered).await, 1);
}

#[tokio::test]
async fn a_row_without_a_tenant_is_parked_and_sent_to_nobody() {
    let walhook = Installation::of_orders().await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    walhook
        .database
        .client
        .batch_execute(
            "insert into orders (tenant_id, status) values (null, 'new'), ('', 'new'), ('acme', 'new')",
        )
        .await
        .unwrap();
    receiver.wait_for(1).await;
    running.stop().await;
    let parked = "select count(*) from parked_changes where reason = 'unroutable'";
    assert_eq!(walhook.count(parked).await, 2);
    assert_eq!(
        walhook.count("select count(*) from webhook_events").await,
        1
    );
}

#[tokio::test]
async fn a_subscription_begins_where_it_was_made_also_while_capture_lags() {
    let walhook = Installation::of_orders().await;
    let receiver = Receiver::start().await;
    let insert = "insert into orders (tenant_id, status) values ('acme', 'new')";
    walhook.database.client.batch_execute(insert).await.unwrap();
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    walhook.database.client.batch_execute(insert).await.unwrap();
    let running = walhook.start();
    walhook
        .wait_for("select count(*) = 2 from webhook_events")
        .await;
    let requests = receiver.wait_for(1).await;
    running.stop().await;
    assert_eq!(receiver.requests().len(), 1);
    assert_eq!(requests[0].json()["data"]["id"], 2);
}

#[tokio::test]
async fn a_large_transaction_is_split_and_whole() {
    let walhook = Installation::of_orders().await;
    let receiver = Receiver::start().await;
    walhook
        .subscribe("acme", &receiver.url("/"), &["order.created"])
        .await;
    let running = walhook.start();
    walhook
        .database
        .client
        .batch_execute("insert into orders (tenant_id, status) select 'acme', 'new' from generate_series(1, 5000)")
        .await
        .unwrap();
    let requests = receiver.wait_for(5000).await;
    running.stop().await;
    let ids: HashSet<_> = requests
        .iter()
        .map(|request| request.id().to_owned())
        .collect();
    assert_eq!((requests.len(), ids.len()), (5000, 5000));
    assert_eq!(
        walhook
            .count("select count(*) from webhook_deliveries where status = 'delivered'")
            .await,
        5000
    );
}

#[tokio::test]
async fn what_rules_make_and_how_far_behind_the_slot_is_stays_known() {
    let rules = format!(
        "{ORDER_RULES}\n[[events]]\ntype = 'order.divided'\ntable = 'public.orders'\nwhen = '1 / (id - 2) > 0'\n"
    );
    let walhook = Installation::create(ORDERS, &rules, "").await;
    let running = walhook.start();
    let application = &walhook.database.client;
    application
        .batch_execute("insert into orders (tenant_id, status) select 'acme', 'new' from generate_series(1, 3)")
        .await
        .unwrap();
    walhook
        .wait_for("select coalesce(sum(events), 0) > 0 and bool_and(hour <= now()) from rule_stats")
        .await;
    walhook
        .wait_for("select count(*) > 0 and min(retained_bytes) >= 0 from pipeline_samples")
        .await;
    // What is noted belongs to no session of the writer's.
    let more = async |id: i64| {
        application
            .batch_execute("insert into orders (tenant_id, status) values ('acme', 'new')")
            .await
            .unwrap();
        let written =
            format!("select count(*) = {id} from webhook_events where rule like 'order.created%'");
        walhook.wait_for(&written).await;
    };
    more(4).await;
    application
        .batch_execute(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where application_name = 'walhook enqueuer'",
        )
        .await
        .unwrap();
    more(5).await;
    running.stop().await;
    let by_rule = "select count(*) from rule_stats
        where rule = 'order.created@public.orders' and events = 5 and parked = 0 and last_event_at <= now()";
    assert_eq!(walhook.count(by_rule).await, 1);
    let parked = "select count(*) from rule_stats
        where rule = 'order.divided@public.orders' and events = 1 and parked = 1";
    assert_eq!(walhook.count(parked).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_on_the_list_of_tenants_keeps_no_event_from_being_written() {
    let walhook = Installation::create(ORDERS, ORDER_RULES, "").await;
    let running = walhook.start();
    let locking = connect(&walhook.database.url).await;
    locking
        .batch_execute("begin; insert into walhook.tenants (tenant_id) values ('acme')")
        .await
        .unwrap();
    let application = &walhook.database.client;
    application
        .batch_execute("insert into orders (tenant_id, status) values ('acme', 'new')")
        .await
        .unwrap();
    walhook
        .wait_for("select count(*) = 1 from webhook_events")
        .await;
    locking.batch_execute("rollback").await.unwrap();
    walhook
        .wait_for("select count(*) = 1 from tenants where tenant_id = 'acme'")
        .await;
    running.stop().await;
}
