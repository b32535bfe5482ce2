//! Connections between walhook and PostgreSQL that fall silent without a reset, under default
//! settings: one purpose's at a time, and all at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use tokio::task::JoinHandle;

use crate::harness::operated::Operated;
use crate::harness::proxy::Proxy;
use crate::harness::receiver::{Receiver, status};
use crate::harness::walhook::Installation;
use crate::harness::{PATIENCE, http, pause, server};

/// How long all may take to work again.
const RECOVERY: Duration = Duration::from_secs(30);
/// A fault of this length, and none that is shorter, takes the node out of service.
const NOT_READY: Duration = Duration::from_secs(15);

/// What a process of all roles has open for as long as it runs.
const PURPOSES: [&str; 12] = [
    ENQUEUER,
    "walhook reader",
    "walhook recorder",
    CLAIMS,
    "walhook membership",
    "walhook listen",
    "walhook api",
    "walhook housekeeping",
    "walhook capture",
    "walhook watch",
    "walhook harm watch",
    HEARTBEAT,
];
/// A statement is sent over it as soon as there is an order, and waits for longer than a
/// fault may last before the node is out of service.
const ENQUEUER: &str = "walhook enqueuer";
/// Its connection is there once a delivery was due that is not a first attempt.
const CLAIMS: &str = "walhook claims";
const HEARTBEAT: &str = "walhook heartbeat";
/// Its connection is there once nothing has been captured for so long.
const FREQUENT_HEARTBEAT: &str = "heartbeat = '1s'";

const STOPPING: Duration = Duration::from_secs(12);
/// How many processes run side by side.
const AT_ONCE: usize = 6;

/// walhook, whose every connection to the source and the store leads through a proxy.
struct Behind {
    operated: Operated,
    proxy: Proxy,
    receiver: Receiver,
    /// How many attempts are to fail.
    failing: Arc<AtomicUsize>,
    token: String,
}

impl Behind {
    /// `source`: a further line of `[source]`.
    async fn start(source: &str) -> Self {
        let proxy = Proxy::to(server()).await;
        let mut installation = Installation::of_orders().await;
        let failing = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&failing);
        let receiver = Receiver::judging(move |_| {
            let fewer = |left: usize| left.checked_sub(1);
            match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer) {
                Ok(_) => status(500),
                Err(_) => status(200),
            }
        })
        .await;
        installation
            .subscribe("acme", &receiver.url("/"), &["*"])
            .await;
        let direct = installation.database.url.clone();
        let url = proxy.url(&installation.database.name);
        installation.edit(&format!("'{direct}'"), &format!("'{url}'\n{source}"));
        let operated = Operated::start(installation);
        let token = operated.walhook(&["token", "create", "--tenant", "acme"]);
        let token = token.await.exits(0).out.trim().to_owned();
        let behind = Behind {
            operated,
            proxy,
            receiver,
            failing,
            token,
        };
        behind.becomes_ready().await;
        behind
    }

    /// An order whose event is to arrive.
    async fn order(&self, note: &str) {
        let insert = format!(
            "insert into orders (tenant_id, status, note) values ('acme', 'new', '{note}')"
        );
        self.operated.sql(&insert).await;
    }

    async fn receives(&self, note: &str) {
        let noted = format!("\"{note}\"").into_bytes();
        let has = |body: &[u8]| body.windows(noted.len()).any(|part| part == noted);
        self.receiver
            .wait_until(|requests| requests.iter().any(|request| has(&request.body)))
            .await;
    }

    /// Lets the next attempt fail.
    fn fails_once(&self) {
        self.failing.store(1, Ordering::SeqCst);
    }

    async fn becomes_ready(&self) {
        let began = Instant::now();
        let is_ready = |probed: Option<(u16, String)>| probed.is_some_and(|(code, _)| code == 200);
        while !is_ready(self.operated.get("/readyz").await) {
            assert!(began.elapsed() < PATIENCE, "{}", self.operated.log());
            pause(began).await;
        }
    }

    /// A request that asks the store.
    async fn lists_subscriptions(&self) {
        let url = self.operated.url("/api/v1/tenant/webhooks/subscriptions");
        let began = Instant::now();
        loop {
            let request = http().get(&url).bearer_auth(&self.token);
            let response = request.send().await.unwrap();
            if response.status().is_success() {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{response:?}");
            pause(began).await;
        }
    }

    async fn watch_sees(&self) {
        let began = Instant::now();
        loop {
            let age = self.operated.metric("walhook_watch_age_seconds ").await;
            if age.is_some_and(|age| age < 5.0) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{age:?}");
            pause(began).await;
        }
    }

    /// Everything works, over connections that were made meanwhile.
    async fn recovers(&self, names: &BTreeSet<String>, note: &str) {
        tokio::join!(
            self.proxy.carries(names.iter().map(String::as_str)),
            self.receives(note),
            self.lists_subscriptions(),
            self.watch_sees(),
        );
    }

    /// SIGTERM; ends in order and in time.
    async fn stops(self) {
        let mut process = self.operated.process;
        let asked = Instant::now();
        process.signal("TERM");
        let status = process.ends().await;
        let took = asked.elapsed();
        assert!(status.success(), "{status}\n{}", process.log());
        assert!(took < STOPPING, "{took:?}\n{}", process.log());
    }

    /// Every order made one delivery that was delivered. What was sent again has the same id.
    async fn has_lost_and_doubled_nothing(&self, orders: &[&str]) {
        let installation = &self.operated.installation;
        let count = orders.len();
        installation
            .wait_for(&format!(
                "select count(*) = {count} and count(distinct event_id) = {count}
                    and bool_and(status = 'delivered') from webhook_deliveries"
            ))
            .await;
        let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for request in self.receiver.requests() {
            let note = request.json()["data"]["note"].as_str().unwrap().to_owned();
            ids.entry(note).or_default().insert(request.id().to_owned());
        }
        let noted: BTreeSet<&str> = ids.keys().map(String::as_str).collect();
        assert_eq!(noted, orders.iter().copied().collect());
        assert!(ids.values().all(|ids| ids.len() == 1), "{ids:?}");
    }
}

/// Asks `/readyz` all the time.
struct Readiness {
    refused: Arc<Mutex<Option<(Duration, String)>>>,
    task: JoinHandle<()>,
}

impl Readiness {
    /// `since`: when the fault began.
    fn of(behind: &Behind, since: Instant) -> Self {
        let refused = Arc::new(Mutex::new(None));
        let (first, url) = (Arc::clone(&refused), behind.operated.url("/readyz"));
        let client = http();
        let task = tokio::spawn(async move {
            loop {
                let response = client.get(&url).send().await.unwrap();
                if response.status() != 200 {
                    let after = since.elapsed();
                    let text = response.text().await.unwrap();
                    first.lock().unwrap().get_or_insert((after, text));
                }
                // A probe's answer does not announce itself.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        Readiness { refused, task }
    }

    /// How long after the fault's begin the node was first out of service, and why.
    fn first_refusal(self) -> Option<(Duration, String)> {
        self.task.abort();
        self.refused.lock().unwrap().take()
    }
}

/// Swallows the connections of this name, while new ones pass. What is wrong, if anything.
async fn swallow_those_of(name: &str) -> Result<Duration, String> {
    let source = match name {
        HEARTBEAT => FREQUENT_HEARTBEAT,
        _ => "",
    };
    let behind = Behind::start(source).await;
    behind.fails_once();
    behind.order("before").await;
    behind.receives("before").await;
    behind.lists_subscriptions().await;
    behind.proxy.carries([name]).await;

    let began = Instant::now();
    behind.proxy.swallow(name);
    if name == CLAIMS {
        behind.fails_once();
    }
    let readiness = Readiness::of(&behind, began);
    behind.order("meanwhile").await;
    behind
        .recovers(&BTreeSet::from([name.to_owned()]), "meanwhile")
        .await;
    let took = began.elapsed();
    behind.becomes_ready().await;
    let refusal = readiness.first_refusal();
    behind.order("after").await;
    behind.receives("after").await;
    behind
        .has_lost_and_doubled_nothing(&["before", "meanwhile", "after"])
        .await;
    let log = behind.operated.log();
    behind.stops().await;
    if took > RECOVERY {
        return Err(format!("{name}: works again after {took:?}\n{log}"));
    }
    if let Some((after, why)) = &refusal
        && took < NOT_READY
    {
        return Err(format!(
            "{name}: not ready after {after:?} of {took:?}: {why}\n{log}"
        ));
    }
    if refusal.is_none() && name == ENQUEUER {
        return Err(format!("{name}: ready in all of {took:?}\n{log}"));
    }
    Ok(took)
}

/// What a running process has open.
async fn open_connections() -> BTreeSet<String> {
    let behind = Behind::start(FREQUENT_HEARTBEAT).await;
    behind.fails_once();
    behind.order("any").await;
    behind.receives("any").await;
    behind.lists_subscriptions().await;
    behind.proxy.carries(PURPOSES).await;
    behind.proxy.names()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_connection_that_falls_silent_alone_is_replaced_in_time() {
    let names = open_connections().await;
    let outcomes: Vec<_> = stream::iter(&names)
        .map(|name| async move { (name, swallow_those_of(name).await) })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut failures = Vec::new();
    for (name, outcome) in outcomes {
        match outcome {
            Ok(took) => println!("{name}: works again after {:.1} s", took.as_secs_f64()),
            Err(failure) => failures.push(failure),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_silent_for_a_minute_is_told_of_once_and_survived() {
    const SILENCE: Duration = Duration::from_secs(60);
    let behind = Behind::start("").await;
    behind.order("before").await;
    behind.receives("before").await;
    behind.lists_subscriptions().await;
    let names: BTreeSet<_> = behind.proxy.names();
    let quiet = warnings(&behind.operated.log()).len();

    let began = Instant::now();
    behind.proxy.fall_silent();
    let readiness = Readiness::of(&behind, began);
    behind.order("meanwhile").await;
    tokio::time::sleep(SILENCE.saturating_sub(began.elapsed())).await;
    let (after, why) = readiness.first_refusal().expect("it is not ready");
    assert!(after < NOT_READY, "not ready after {after:?}: {why}");
    let log = behind.operated.log();
    behind.proxy.recover();
    let over = Instant::now();
    behind.recovers(&names, "meanwhile").await;
    behind.becomes_ready().await;
    let took = over.elapsed();
    println!("not ready after {after:?}; works again {took:?} after the silence");
    assert!(took < RECOVERY, "{took:?}\n{}", behind.operated.log());
    behind.order("after").await;
    behind.receives("after").await;
    behind
        .has_lost_and_doubled_nothing(&["before", "meanwhile", "after"])
        .await;

    // Each thing that fails is said once, not once for each try.
    let mut said: BTreeMap<String, usize> = BTreeMap::new();
    for warning in warnings(&log).split_off(quiet) {
        *said.entry(warning).or_default() += 1;
    }
    println!("{said:#?}");
    // Two tasks have a connection of this name, and the second looks at times only.
    let most = |warning: &str| match warning.contains("`walhook watch`") {
        true => 2,
        false => 1,
    };
    let is_said_once = |(warning, times): (&String, &usize)| *times <= most(warning);
    assert!(said.iter().all(is_said_once), "{said:#?}");
    for blind in [
        "cannot look at the slot and what is published; trying again",
        "cannot look whether publishing harms the application; trying again",
    ] {
        assert!(said.contains_key(blind), "{said:#?}");
    }
    for begun in said.keys() {
        let Some((what, _)) = begun.split_once("; trying again") else {
            continue;
        };
        let end = match what {
            "capture was interrupted" => "holding the slot: capturing".to_owned(),
            _ => format!("over: {what}"),
        };
        // A task tries again within its back-off.
        behind.operated.wait_logged(&end).await;
        let whole = behind.operated.log();
        let since = &whole[log.len()..];
        assert_eq!(since.matches(&end).count(), 1, "{end}\n{since}");
    }
    behind.stops().await;
}

/// What the log's warnings say, without time and fields.
fn warnings(log: &str) -> Vec<String> {
    let text = |line: &str| Some(line.split_once(" WARN ")?.1.to_owned());
    let mut warnings: Vec<String> = log.lines().filter_map(text).collect();
    for warning in &mut warnings {
        if let Some(fields) = warning.find(" error=") {
            warning.truncate(fields);
        }
    }
    warnings
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_asked_to_stop_in_silence_ends_in_time_and_in_order() {
    let behind = Behind::start("").await;
    behind.order("before").await;
    behind.receives("before").await;
    behind.proxy.fall_silent();
    behind.order("meanwhile").await;
    behind.stops().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_left_the_publication_while_the_watch_was_silent_makes_a_gap() {
    let behind = Behind::start("").await;
    behind.order("before").await;
    behind.receives("before").await;
    behind.proxy.carries(["walhook watch"]).await;
    behind.proxy.swallow("walhook watch");
    behind
        .operated
        .sql("alter publication walhook drop table orders")
        .await;
    behind.order("lost").await;
    behind
        .operated
        .sql("alter publication walhook add table orders")
        .await;
    behind
        .operated
        .wait_metric("walhook_gaps_open ", |open| open == 1.0)
        .await;
    behind.operated.wait_ready(503, &["gap", "orders"]).await;
    behind.order("after").await;
    behind.receives("after").await;
    behind.stops().await;
}
