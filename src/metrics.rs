//! Every metric of walhook, in one place. No label holds a URL, an id or anything
//! that a tenant chooses.

use std::sync::LazyLock;

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    Opts, Registry, TextEncoder, core::Collector, process_collector::ProcessCollector,
};

/// The process's metrics. Counters are raised where the thing happens; the gauges
/// that say the store's state are set when they are scraped.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

pub struct Metrics {
    registry: Registry,
    /// `status`: delivered, pending (to be tried again), failed, parked or cancelled. `event`:
    /// the type.
    pub deliveries: IntCounterVec,
    pub delivery_duration: Histogram,
    pub retries: IntCounter,
    /// `code`: the receiver's HTTP status, `none` where there was no answer, `other` where it
    /// is not of 100 to 599.
    pub http_status: IntCounterVec,
    /// The same under the name that a counter ought to have.
    pub http_status_total: IntCounterVec,
    pub stages: Stages,
    pub lag_bytes: IntGauge,
    pub lag_seconds: Gauge,
    pub slot_retained_bytes: IntGauge,
    /// -1 where the server sets no limit.
    pub slot_safe_wal_bytes: IntGauge,
    /// Published tables, or partitions, on which the application's writes fail.
    pub harmed_tables: IntGauge,
    pub events: IntCounterVec,
    pub unroutable: IntCounter,
    /// Counted when the store has said which of the tenants have an API token.
    pub unknown_tenant_events: IntCounter,
    /// `reason`: of changes unmappable or undecodable, of deliveries oversized or
    /// disabled (the subscription), and filter: an event that a subscription's filter
    /// failed on.
    pub parked: IntCounterVec,
    /// `reason`: the limit that a call of the API, or a connection to it, went beyond:
    /// requests, concurrent, replays, tests, subscriptions, authentication or connections.
    pub api_refused: IntCounterVec,
    pub api_connections: IntGauge,
    /// `state`: as the API names it; in_flight of this process, pending, parked and failed of the
    /// store, counted when they are scraped, but seldom where that takes long.
    pub queue_depth: GaugeVec,
    /// Of the pending ones in the store, those that were tried once or more.
    pub pending_retries: Gauge,
    /// Of those that are in flight, the ones for which a request is.
    pub requests_under_way: IntGauge,
    /// Unix time of that count.
    pub queue_counted: Gauge,
    pub oldest_due_seconds: Gauge,
    pub breakers_open: IntGauge,
    /// Active subscriptions that this process sends to.
    pub subscriptions_held: IntGauge,
    /// In the store: their deliveries wait.
    pub subscriptions_unreadable: IntGauge,
    /// `kind`: as ProblemKind names them. Counted when they are scraped.
    pub problems: GaugeVec,
    /// How long ago the watch last saw the slot, the publication and its tables.
    pub watch_age_seconds: Gauge,
    /// `reason`: as GapKind names them. Found by this process.
    pub gaps: IntCounterVec,
    /// Gaps that nobody has accepted yet, in the store.
    pub gaps_open: IntGauge,
    /// What the slot may keep: the smaller of the server's limit and ours; -1: no limit.
    pub wal_limit_bytes: IntGauge,
    /// `cause`: failing (for `delivery.disable_after`) or gone (410).
    pub subscriptions_disabled: IntCounterVec,
    /// 1 where this process holds the slot.
    pub leader: IntGauge,
    pub reconnects: IntCounter,
    /// `side`: store or source.
    pub clock_skew: GaugeVec,
    /// 0 where the rules that were read last were refused, and those of before run.
    pub reload_successful: IntGauge,
    pub reload_success_seconds: IntGauge,
}

/// Latency by stage: of one family, and looked up once, as most are observed for each
/// delivery.
pub struct Stages {
    pub decode: Histogram,
    pub enqueue: Histogram,
    pub queue: Histogram,
    pub http: Histogram,
    /// From the commit to the 2xx of a first attempt, of no replay and no backfill.
    pub total: Histogram,
}

/// From half a millisecond, which a delivery on one machine takes, to the 15 s of a
/// default timeout and beyond.
const LATENCY_BUCKETS: [f64; 15] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0,
];

impl Metrics {
    fn new() -> Self {
        let registry = Registry::new();
        // What the process itself uses: CPU, memory, descriptors.
        valid(registry.register(Box::new(ProcessCollector::for_self())));
        let counter = |name, help| register(&registry, valid(IntCounter::new(name, help)));
        let counters = |name, help, labels: &[&str]| {
            register(
                &registry,
                valid(IntCounterVec::new(Opts::new(name, help), labels)),
            )
        };
        let int_gauge = |name, help| register(&registry, valid(IntGauge::new(name, help)));
        let gauge = |name, help| register(&registry, valid(Gauge::new(name, help)));
        let histogram =
            |name, help| HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS.to_vec());
        Metrics {
            deliveries: counters(
                "webhook_deliveries_total",
                "Attempts by the state that they left the delivery in; pending: to be tried again.",
                &["status", "event"],
            ),
            delivery_duration: register(
                &registry,
                valid(Histogram::with_opts(histogram(
                    "webhook_delivery_duration_seconds",
                    "Duration of one attempt, the response's body included.",
                ))),
            ),
            retries: counter("webhook_retries_total", "Attempts after the first one."),
            http_status: counters(
                "webhook_delivery_http_status",
                "The same as webhook_delivery_http_status_total.",
                &["code"],
            ),
            http_status_total: counters(
                "webhook_delivery_http_status_total",
                "Attempts by the receiver's HTTP status; none where there was no answer, other beyond 100 to 599.",
                &["code"],
            ),
            stages: Stages::new(&register(
                &registry,
                valid(HistogramVec::new(
                    histogram(
                        "walhook_latency_seconds",
                        "Time by stage; total: from the commit to the 2xx of first attempts, without replays and backfills.",
                    ),
                    &["stage"],
                )),
            )),
            lag_bytes: int_gauge(
                "walhook_replication_lag_bytes",
                "Log written by the source and not yet durable in the store.",
            ),
            lag_seconds: gauge(
                "walhook_replication_lag_seconds",
                "Age of the newest enqueued commit; 0 when the source has no more to send.",
            ),
            slot_retained_bytes: int_gauge(
                "walhook_slot_retained_bytes",
                "Log that the slot makes the source keep.",
            ),
            slot_safe_wal_bytes: int_gauge(
                "walhook_slot_safe_wal_bytes",
                "Log that may still be written before the slot is lost; -1 without a limit.",
            ),
            harmed_tables: int_gauge(
                "walhook_harmed_tables",
                "Published tables on which the application's updates and deletes fail.",
            ),
            events: counters("walhook_events_total", "Events enqueued.", &["type"]),
            unroutable: counter(
                "walhook_unroutable_total",
                "Changes that matched a rule and had no tenant: parked, sent to nobody.",
            ),
            unknown_tenant_events: counter(
                "walhook_unknown_tenant_events_total",
                "Events of tenants that have neither a subscription nor an API token: stored, not sent.",
            ),
            parked: counters(
                "walhook_parked_total",
                "Changes and deliveries set aside by reason; filter: not sent as the filter failed.",
                &["reason"],
            ),
            api_refused: counters(
                "walhook_api_refused_total",
                "Calls and connections beyond a limit of the API, by reason.",
                &["reason"],
            ),
            api_connections: int_gauge("walhook_api_connections", "Open connections to the API."),
            queue_depth: register(
                &registry,
                valid(GaugeVec::new(
                    Opts::new(
                        "walhook_queue_depth",
                        "Deliveries by state, as the API names it: in_flight of this process; pending, parked and failed of the store.",
                    ),
                    &["state"],
                )),
            ),
            pending_retries: gauge(
                "walhook_pending_retries",
                "Of the pending deliveries in the store, those that were tried before.",
            ),
            requests_under_way: int_gauge(
                "walhook_requests_under_way",
                "Requests to endpoints that this process waits for.",
            ),
            queue_counted: gauge(
                "walhook_queue_counted_timestamp_seconds",
                "When the deliveries that wait in the store were counted.",
            ),
            oldest_due_seconds: gauge(
                "walhook_oldest_due_seconds",
                "How long the oldest due delivery has waited to be in flight.",
            ),
            breakers_open: int_gauge("walhook_breakers_open", "Endpoints whose breaker is open."),
            subscriptions_held: int_gauge(
                "walhook_subscriptions_held",
                "Active subscriptions that this process alone sends to.",
            ),
            subscriptions_unreadable: int_gauge(
                "walhook_subscriptions_unreadable",
                "Subscriptions that cannot be decrypted or read; their deliveries wait.",
            ),
            gaps: counters(
                "walhook_gaps_total",
                "Gaps in the WAL that this process found, by reason.",
                &["reason"],
            ),
            problems: register(
                &registry,
                valid(GaugeVec::new(
                    Opts::new(
                        "walhook_problems",
                        "What is wrong with this process, as /readyz lists it.",
                    ),
                    &["kind"],
                )),
            ),
            watch_age_seconds: gauge(
                "walhook_watch_age_seconds",
                "How long ago the slot, the publication and its tables were last looked at.",
            ),
            gaps_open: int_gauge(
                "walhook_gaps_open",
                "Gaps in the WAL that nobody has accepted yet.",
            ),
            wal_limit_bytes: int_gauge(
                "walhook_wal_limit_bytes",
                "Log that the slot may make the source keep; -1 without a limit.",
            ),
            subscriptions_disabled: counters(
                "walhook_subscriptions_disabled_total",
                "Subscriptions disabled because their endpoint kept failing or answered 410.",
                &["cause"],
            ),
            leader: int_gauge(
                "walhook_capture_leader",
                "1 where this process holds the slot.",
            ),
            reconnects: counter(
                "walhook_replication_reconnects_total",
                "Replication sessions that ended and were begun again.",
            ),
            clock_skew: register(
                &registry,
                valid(GaugeVec::new(
                    Opts::new(
                        "walhook_clock_skew_seconds",
                        "How far this machine's clock is ahead of the side's; negative: behind.",
                    ),
                    &["side"],
                )),
            ),
            reload_successful: int_gauge(
                "walhook_rules_last_reload_successful",
                "0 where the rules that were read last were refused, and those of before run.",
            ),
            reload_success_seconds: int_gauge(
                "walhook_rules_last_reload_success_timestamp_seconds",
                "When the rules that run were read.",
            ),
            registry,
        }
    }

    /// Everything in Prometheus' text format.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

impl Stages {
    fn new(latency: &HistogramVec) -> Self {
        let stage = |name| latency.with_label_values(&[name]);
        Stages {
            decode: stage("decode"),
            enqueue: stage("enqueue"),
            queue: stage("queue"),
            http: stage("http"),
            total: stage("total"),
        }
    }
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> C {
    valid(registry.register(Box::new(collector.clone())));
    collector
}

/// Names and labels are constants of this file: an invalid one is a defect that
/// every start would show.
fn valid<T>(result: Result<T, prometheus::Error>) -> T {
    result.expect("metric names are valid and unique")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_the_names_of_the_contract() {
        METRICS
            .deliveries
            .with_label_values(&["delivered", "payment.received"])
            .inc();
        let text = METRICS.render().unwrap();
        assert!(
            text.contains(
                "webhook_deliveries_total{event=\"payment.received\",status=\"delivered\"}"
            )
        );
        assert!(text.contains("process_resident_memory_bytes"));
    }
}
