//! A store that answers nothing, and resets nothing; and one that takes no write.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::harness::process::Process;
use crate::harness::proxy::Proxy;
use crate::harness::receiver::Receiver;
use crate::harness::walhook::Installation;
use crate::harness::{connect, server};

const INSERT: &str = "insert into orders (tenant_id, status) values ('acme', 'new')";
const LEADS: &str = "holding the slot: capturing";
const UNHEARD: &str = "cannot record a heartbeat in the store";
const INTERRUPTED: &str = "capture was interrupted";

/// An installation, of which a process reaches the store through a proxy of its own.
struct Behind {
    installation: Installation,
    receiver: Receiver,
}

/// A process with a configuration and a log of its own.
struct Node {
    proxy: Proxy,
    process: Process,
    _directory: tempfile::TempDir,
}

impl Behind {
    async fn proxies() -> Self {
        let installation = Installation::of_orders().await;
        let receiver = Receiver::start().await;
        installation
            .subscribe("acme", &receiver.url("/"), &["*"])
            .await;
        Behind {
            installation,
            receiver,
        }
    }

    async fn start(&self) -> Node {
        let proxy = Proxy::to(server()).await;
        let url = proxy.url(&self.installation.database.name);
        let text = std::fs::read_to_string(self.installation.config_file()).unwrap();
        let text = text.replacen("[api]", &format!("[store]\nurl = '{url}'\n[api]"), 1);
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("walhook.toml");
        std::fs::write(&config, text).unwrap();
        Node {
            proxy,
            process: Process::start(&config, &["run"]),
            _directory: directory,
        }
    }

    async fn insert(&self) {
        let application = &self.installation.database.client;
        application.batch_execute(INSERT).await.unwrap();
    }

    async fn delivered(&self, count: usize) {
        let delivered = "from webhook_deliveries where status = 'delivered'";
        self.installation
            .wait_for(&format!("select count(*) = {count} {delivered}"))
            .await;
    }
}

impl Node {
    fn has_led(&self) -> usize {
        self.process.log().matches(LEADS).count()
    }

    /// SIGTERM; ends in time and in order.
    async fn stops(mut self) -> String {
        let asked = Instant::now();
        self.process.signal("TERM");
        let status = self.process.ends().await;
        let took = asked.elapsed();
        let log = self.process.log();
        assert!(status.success(), "{status}\n{log}");
        assert!(took < Duration::from_secs(12), "{took:?}\n{log}");
        log
    }
}

/// Three more heartbeats of each node are in vain.
async fn unheard_again(nodes: &[Node]) {
    let again = nodes.iter().map(|node| {
        let unheard = node.process.log().matches(UNHEARD).count();
        node.process.says(UNHEARD, unheard + 3)
    });
    join_all(again).await;
}

/// What was sent and not written comes again, once, from the next process.
async fn stops_in_silence(moment: &str) {
    let behind = Behind::proxies().await;
    let node = behind.start().await;
    behind.insert().await;
    behind.delivered(1).await;
    // So that it is sent, and not written before the store falls silent.
    let blocker = connect(&behind.installation.database.url).await;
    let block = "begin; lock table walhook.webhook_events in share mode";
    blocker.batch_execute(block).await.unwrap();
    behind.insert().await;
    behind.receiver.wait_for(2).await;
    node.proxy.fall_silent();
    node.process.says(moment, 1).await;
    let log = node.stops().await;
    assert_eq!(log.matches("are sent again").count(), 1, "{log}");
    blocker.batch_execute("rollback").await.unwrap();

    let node = behind.start().await;
    behind.delivered(2).await;
    node.stops().await;
    let requests = behind.receiver.requests();
    let ids: std::collections::BTreeSet<_> = requests.iter().map(|sent| sent.id()).collect();
    assert_eq!((requests.len(), ids.len()), (3, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_stops_in_time_when_the_store_has_just_fallen_silent() {
    stops_in_silence(LEADS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_stops_in_time_when_the_store_has_been_silent_for_long() {
    stops_in_silence("the slot is released for a stand-by").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_stops_in_time_before_the_store_has_answered_at_all() {
    let behind = Behind::proxies().await;
    let node = behind.start().await;
    node.proxy.fall_silent();
    node.process.says("cannot read the store", 1).await;
    node.stops().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_cut_off_from_its_store_releases_the_slot_to_a_healthy_stand_by() {
    let behind = Behind::proxies().await;
    let leader = behind.start().await;
    leader.process.says(LEADS, 1).await;
    let stand_by = behind.start().await;
    stand_by.process.says("standing by", 1).await;
    behind.insert().await;
    behind.delivered(1).await;

    leader.proxy.fall_silent();
    let cut = Instant::now();
    behind.insert().await;
    stand_by.process.says(LEADS, 1).await;
    let took = cut.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    behind.delivered(2).await;
    leader.stops().await;
    assert_eq!(stand_by.has_led(), 1);
    stand_by.stops().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_the_slot_while_the_store_is_silent_for_all() {
    let behind = Behind::proxies().await;
    let nodes = [behind.start().await, behind.start().await];
    behind.insert().await;
    behind.delivered(1).await;

    nodes.iter().for_each(|node| node.proxy.fall_silent());
    behind.insert().await;
    let slot = behind.installation.database.slot();
    let free = format!("select not active from pg_replication_slots where slot_name = '{slot}'");
    behind.installation.wait_for(&free).await;
    let led: Vec<usize> = nodes.iter().map(Node::has_led).collect();
    unheard_again(&nodes).await;
    assert_eq!(led, nodes.iter().map(Node::has_led).collect::<Vec<_>>());

    nodes.iter().for_each(|node| node.proxy.recover());
    behind.delivered(2).await;
    let leads_again: usize = nodes.iter().map(Node::has_led).sum();
    assert_eq!(leads_again, 2);
    join_all(nodes.map(Node::stops)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_the_slot_while_the_store_takes_no_write() {
    let behind = Behind::proxies().await;
    let nodes = [behind.start().await, behind.start().await];
    behind.insert().await;
    behind.delivered(1).await;

    let application = &behind.installation.database.client;
    let fail = "create function walhook.fail() returns trigger language plpgsql as
            $$ begin raise exception 'no room' using errcode = '53100'; end $$;
         create trigger fail before update on walhook.instances
            for each row execute function walhook.fail()";
    application.batch_execute(fail).await.unwrap();
    let slot = behind.installation.database.slot();
    let free = format!("select not active from pg_replication_slots where slot_name = '{slot}'");
    behind.installation.wait_for(&free).await;
    let led: Vec<usize> = nodes.iter().map(Node::has_led).collect();
    // Its registration is its first heartbeat: it has not been silent for long.
    let late = behind.start().await;
    unheard_again(&nodes).await;
    late.process.says(INTERRUPTED, 1).await;
    assert_eq!(late.has_led(), 0, "{}", late.process.log());
    assert_eq!(led, nodes.iter().map(Node::has_led).collect::<Vec<_>>());

    let room = "drop trigger fail on walhook.instances";
    application.batch_execute(room).await.unwrap();
    behind.insert().await;
    behind.delivered(2).await;
    join_all(nodes.into_iter().chain([late]).map(Node::stops)).await;
}
