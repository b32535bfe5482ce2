//! Several processes that deliver from one store: the subscriptions are shared among
//! them, and each delivery is one's to send.

use std::collections::{BTreeMap, BTreeSet};

use super::{Deployed, text};
use crate::harness::command::{answer, walhook};
use crate::harness::process::Process;
use crate::harness::receiver::{Gate, Receiver, Request, status};
use crate::harness::walhook::{Installation, ORDER_RULES, ORDERS};
use crate::harness::{TestDatabase, start_postgres, stop_at_exit};

const SUBSCRIPTIONS: usize = 6;

/// A process that delivers, with a log of its own.
struct Node(Process);

impl Node {
    fn start(walhook: &Installation, name: &str) -> Self {
        Self::with_roles(walhook, name, "deliver")
    }

    fn with_roles(walhook: &Installation, name: &str, roles: &str) -> Self {
        let directory = walhook.directory.path().join(name);
        std::fs::create_dir(&directory).unwrap();
        let config = directory.join("walhook.toml");
        std::fs::copy(walhook.config_file(), &config).unwrap();
        Node(Process::start(&config, &["run", "--roles", roles]))
    }

    /// The instance that it has registered as.
    async fn instance(&self) -> String {
        self.0.says("walhook is running", 1).await;
        let log = self.0.log();
        let (_, id) = log.split_once("instance=").unwrap();
        id[..36].to_owned()
    }
}

/// One process that captures and serves the API, nodes that deliver, a receiver with an
/// endpoint for each subscription of one tenant.
struct Nodes {
    deployed: Deployed,
    receiver: Receiver,
    nodes: Vec<Node>,
}

impl Nodes {
    async fn start(nodes: usize) -> Self {
        Self::of(Installation::of_orders().await, nodes).await
    }

    async fn of(walhook: Installation, nodes: usize) -> Self {
        let deployed = Deployed::of(walhook, &[&["run", "--roles", "capture,api"]]).await;
        let receiver = Receiver::start().await;
        let node = |number| Node::start(&deployed.walhook, &format!("node-{number}"));
        let nodes: Vec<Node> = (0..nodes).map(node).collect();
        let acme = deployed.tenant("acme").await;
        for number in 0..SUBSCRIPTIONS {
            acme.subscribe(&receiver.url(&format!("/{number}"))).await;
        }
        let nodes = Nodes {
            deployed,
            receiver,
            nodes,
        };
        nodes.wait_shared(nodes.nodes.len()).await;
        nodes
    }

    fn add(&mut self, name: &str) {
        self.nodes.push(Node::start(&self.deployed.walhook, name));
    }

    /// Waits until so many nodes hold an equal part of the subscriptions each.
    async fn wait_shared(&self, nodes: usize) {
        let part = SUBSCRIPTIONS / nodes;
        let shared = format!(
            "select count(*) = {nodes} and bool_and(n = {part})
             from (select count(*) as n from subscription_leases group by instance) leases"
        );
        self.deployed.walhook.wait_for(&shared).await;
    }

    /// Waits until all deliveries of so many orders have ended, and answers the requests
    /// of each endpoint by their `webhook-id`.
    async fn delivered(&self, orders: usize) -> BTreeMap<String, Vec<Request>> {
        let count = orders * SUBSCRIPTIONS;
        let delivered =
            format!("select count(*) = {count} from webhook_deliveries where status = 'delivered'");
        self.deployed.walhook.wait_for(&delivered).await;
        let left = "select not exists (select from delivery_schedule)";
        self.deployed.walhook.wait_for(left).await;
        let mut by_path: BTreeMap<String, Vec<Request>> = BTreeMap::new();
        for request in self.receiver.requests() {
            by_path
                .entry(request.path.clone())
                .or_default()
                .push(request);
        }
        assert_eq!(by_path.len(), SUBSCRIPTIONS);
        for (path, requests) in &by_path {
            let ids: BTreeSet<&str> = requests.iter().map(Request::id).collect();
            assert_eq!(ids.len(), orders, "{path} got others than it should");
        }
        by_path
    }

    async fn delivered_once(&self, orders: usize) {
        for (path, requests) in self.delivered(orders).await {
            assert_eq!(requests.len(), orders, "{path} got some twice");
        }
    }

    fn stop(self) {
        for Node(process) in self.nodes {
            assert!(process.terminate().success());
        }
        self.deployed.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_share_the_subscriptions_and_send_each_delivery_once() {
    let nodes = Nodes::start(3).await;
    for _ in 0..20 {
        nodes.deployed.orders("acme", 10).await;
    }
    nodes.delivered_once(200).await;
    for Node(process) in &nodes.nodes {
        assert!(process.log().contains("claimed"), "one had nothing to send");
    }

    let mut status = walhook();
    status
        .arg("--config")
        .arg(nodes.deployed.walhook.config_file());
    let status = answer(status.arg("status").output().await.unwrap());
    let shares = status.out.matches("sends to 2 subscriptions").count();
    assert_eq!(shares, 3, "{}", status.out);

    // One more subscription is somebody's at once, and one that is gone nobody's.
    let acme = nodes.deployed.tenant("acme").await;
    let more = acme.subscribe(&nodes.receiver.url("/more")).await;
    let leases = |count| format!("select count(*) = {count} from subscription_leases");
    let store = &nodes.deployed.walhook;
    store.wait_for(&leases(SUBSCRIPTIONS + 1)).await;
    nodes.deployed.orders("acme", 1).await;
    nodes.receiver.wait_for_of("/more", 1).await;
    acme.delete(&format!("/subscriptions/{}", text(&more["id"])))
        .await;
    store.wait_for(&leases(SUBSCRIPTIONS)).await;
    nodes.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_come_and_go_under_load_and_nothing_is_sent_twice() {
    let mut nodes = Nodes::start(1).await;
    let mut orders = 0;
    for step in 0..4 {
        for _ in 0..10 {
            nodes.deployed.orders("acme", 10).await;
            orders += 10;
        }
        nodes.receiver.wait_for(orders).await;
        match step {
            0 => nodes.add("second"),
            1 => nodes.add("third"),
            // It hands over what it holds before it ends.
            2 => {
                let Node(first) = nodes.nodes.remove(0);
                assert!(first.terminate().success());
            }
            _ => {}
        }
        let running = nodes.nodes.len();
        nodes.wait_shared(running).await;
    }
    nodes.delivered_once(orders).await;
    nodes.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_node_held_the_others_send() {
    let mut nodes = Nodes::start(3).await;
    // Its requests are under way, and more wait in its memory.
    let gate = Gate::closed();
    let held = gate.clone();
    nodes.receiver.answer(move |_, _| status(200).behind(&held));
    nodes.deployed.orders("acme", 100).await;
    nodes.receiver.wait_for(SUBSCRIPTIONS).await;
    let leased = "select count(distinct lease_owner) = 3 from delivery_schedule";
    nodes.deployed.walhook.wait_for(leased).await;
    let Node(killed) = nodes.nodes.remove(0);
    killed.kill();
    gate.open();
    nodes.deployed.orders("acme", 100).await;
    nodes.wait_shared(2).await;
    // What was under way when it was killed comes a second time.
    nodes.delivered(200).await;
    nodes.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_node_that_wakes_up_sends_nothing_more() {
    let settings = "[delivery]\nendpoint_concurrency = 1\n";
    let walhook = Installation::create(ORDERS, ORDER_RULES, settings).await;
    let mut nodes = Nodes::of(walhook, 2).await;
    nodes.deployed.orders("acme", 50).await;
    nodes.delivered_once(50).await;
    let gate = Gate::closed();
    let held = gate.clone();
    nodes.receiver.answer(move |_, _| status(200).behind(&held));
    nodes.deployed.orders("acme", 200).await;
    // One request of each endpoint is under way, and more wait in memory.
    nodes.receiver.wait_for(51 * SUBSCRIPTIONS).await;
    let leased = format!(
        "select count(*) = 2 and min(n) > {SUBSCRIPTIONS}
         from (select count(*) as n from delivery_schedule group by lease_owner
             having lease_owner is not null) s"
    );
    nodes.deployed.walhook.wait_for(&leased).await;
    let mut frozen = nodes.nodes.remove(0);
    let instance = frozen.instance().await;
    frozen.0.freeze().await;
    gate.open();
    let gone = format!("select not exists (select from instances where id = '{instance}')");
    nodes.deployed.walhook.wait_for(&gone).await;
    nodes.wait_shared(1).await;
    nodes.delivered(250).await;

    let sent = nodes.receiver.requests().len();
    frozen.0.thaw();
    assert!(!frozen.0.ends().await.success());
    assert!(frozen.0.log().contains("has fenced this one"));
    assert_eq!(nodes.receiver.requests().len(), sent);
    // Nor did it change what the other has recorded.
    nodes.delivered(250).await;
    nodes.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_captures_hands_over_its_own_and_leaves_the_rest_to_others() {
    let walhook = Installation::of_orders().await;
    let mut nodes = Nodes::of(walhook, 1).await;
    let whole = Node::with_roles(&nodes.deployed.walhook, "whole", "capture,deliver");
    let instance = whole.instance().await;
    nodes.nodes.push(whole);
    nodes.wait_shared(2).await;
    // The one that captured and did not deliver goes; the API goes with it.
    let first = nodes.deployed.processes.remove(0);
    assert!(first.terminate().success());
    let leads = format!("select leader = '{instance}' from replication_progress");
    nodes.deployed.walhook.wait_for(&leads).await;
    for _ in 0..20 {
        nodes.deployed.orders("acme", 10).await;
    }
    nodes.delivered_once(200).await;
    nodes.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_share_a_store_in_a_server_of_its_own() {
    let server = start_postgres(&[("shared_buffers", "32MB")]).unwrap();
    stop_at_exit(&server);
    let store = TestDatabase::create_on(&server).await;
    let settings = format!("[store]\nurl = '{}'\n", store.url);
    let walhook = Installation::create(ORDERS, ORDER_RULES, &settings).await;
    let nodes = Nodes::of(walhook, 3).await;
    nodes.deployed.orders("acme", 100).await;
    nodes.delivered_once(100).await;
    let of_source = nodes.deployed.walhook.database.client.query_one(
        "select count(*) from pg_namespace where nspname = 'walhook'",
        &[],
    );
    assert_eq!(of_source.await.unwrap().get::<_, i64>(0), 0);
    nodes.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_a_killed_process_on_its_machine_does_not_wait_for_the_end_of_its_lease() {
    let walhook = Installation::of_orders().await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let first = Process::start(&walhook.config_file(), &["run"]);
    let leased = "select count(*) = 1 from subscription_leases";
    walhook.wait_for(leased).await;
    first.kill();
    // As the store knows it, it will never be silent for too long.
    let store = walhook.store.get().await.unwrap();
    let lives = "update instances set heartbeat_at = now() + interval '1 hour'";
    store.batch_execute(lives).await.unwrap();
    let insert = "insert into orders (tenant_id, status) values ('acme', 'new')";
    walhook.database.client.batch_execute(insert).await.unwrap();
    let second = Process::start(&walhook.config_file(), &["run"]);
    receiver.wait_for(1).await;
    walhook.wait_for("select count(*) = 1 from instances").await;
    assert!(second.terminate().success());
    assert_eq!(
        walhook
            .count("select count(*) from subscription_leases")
            .await,
        0
    );
}
