//! What operators get beside the binary names only things that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use walhook::config::Config;
use walhook::metrics::METRICS;

const ALERTS: &str = "config/prometheus/alerts.yml";
const DASHBOARD: &str = "config/grafana/dashboards/walhook.json";

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

/// Every metric that `/metrics` exports. A vector shows up with its first child only.
pub fn exported() -> BTreeSet<String> {
    METRICS
        .deliveries
        .with_label_values(&["delivered", "payment.received"]);
    METRICS.http_status.with_label_values(&["200"]);
    METRICS.http_status_total.with_label_values(&["200"]);
    METRICS.events.with_label_values(&["payment.received"]);
    METRICS.parked.with_label_values(&["oversized"]);
    METRICS.api_refused.with_label_values(&["requests"]);
    METRICS.queue_depth.with_label_values(&["pending"]);
    METRICS.gaps.with_label_values(&["shed"]);
    METRICS.problems.with_label_values(&["gap"]);
    METRICS.subscriptions_disabled.with_label_values(&["gone"]);
    METRICS.clock_skew.with_label_values(&["store"]);
    let mut names = BTreeSet::new();
    for line in METRICS.render().unwrap().lines() {
        let Some(described) = line.strip_prefix("# TYPE ") else {
            continue;
        };
        let (name, kind) = described.split_once(' ').unwrap();
        names.insert(name.to_owned());
        if kind == "histogram" {
            names.extend(["_bucket", "_sum", "_count"].map(|suffix| format!("{name}{suffix}")));
        }
    }
    names
}

/// The words of `text` that can only be names of metrics.
fn mentioned(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| {
            ["walhook_", "webhook_", "process_"]
                .iter()
                .any(|prefix| word.starts_with(prefix))
        })
        .collect()
}

#[test]
fn alerts_and_dashboard_name_exported_metrics() {
    let exported = exported();
    for file in [ALERTS, DASHBOARD] {
        let text = read(file);
        let mentioned = mentioned(&text);
        assert!(mentioned.len() > 5, "{file} names hardly any metric");
        for name in mentioned {
            assert!(exported.contains(name), "{file} names {name}: not exported");
        }
    }
}

#[test]
fn every_metric_of_ours_is_on_the_dashboard_or_alarmed() {
    let text = read(ALERTS) + &read(DASHBOARD);
    let shown = mentioned(&text);
    for name in exported() {
        let is_ours = name.starts_with("walhook_") || name.starts_with("webhook_");
        let is_part = ["_bucket", "_sum", "_count"].map(|suffix| format!("{name}{suffix}"));
        let is_shown = shown.contains(name.as_str())
            || is_part.iter().any(|part| shown.contains(part.as_str()))
            // The parts of a histogram: its buckets are what is drawn.
            || name.ends_with("_sum")
            || name.ends_with("_count");
        assert!(!is_ours || is_shown, "nobody looks at {name}");
    }
}

#[test]
fn the_dashboard_is_json_with_distinct_panels() {
    let dashboard: serde_json::Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels
        .iter()
        .map(|panel| panel["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids.len(), panels.len(), "two panels share an id");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let title = panel["title"].as_str().unwrap();
        assert!(
            panel["description"].is_string(),
            "{title} has no description"
        );
        assert!(
            !panel["targets"].as_array().unwrap().is_empty(),
            "{title} asks for nothing"
        );
    }
}

/// The variables that compose.yaml sets, with its defaults for what it interpolates.
fn compose_variables() -> Vec<(String, String)> {
    read("compose.yaml")
        .lines()
        .filter_map(|line| line.trim().split_once(": "))
        .filter(|(name, _)| name.starts_with("WALHOOK_") && name.contains("__"))
        .map(|(name, value)| {
            let value = value.strip_prefix('"').unwrap_or(value);
            let value = value.split('"').next().unwrap_or_default();
            (name.to_owned(), interpolate(value))
        })
        .collect()
}

/// `${NAME:-default}` becomes its default, as in a shell without the variable.
fn interpolate(value: &str) -> String {
    let mut text = String::new();
    let mut rest = value;
    while let Some((before, variable)) = rest.split_once("${") {
        let (variable, after) = variable.split_once('}').unwrap();
        text.push_str(before);
        text.push_str(variable.split_once(":-").unwrap().1);
        rest = after;
    }
    text + rest
}

#[test]
fn compose_configures_what_ships() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/walhook.toml");
    let variables = compose_variables();
    assert!(variables.len() >= 6);
    let config = Config::load_with(Some(&shipped), variables.into_iter()).unwrap();
    assert!(config.rules().unwrap().tables().next().is_some());
    assert!(!config.security.allow_http && config.security.allow_networks.is_empty());
    assert_eq!(config.api.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(
        config.security.encryption_key_file,
        Path::new("/var/lib/walhook/walhook.key")
    );
}

/// systemd refuses a unit in which anything stands after a section's name.
#[test]
fn the_unit_for_systemd_loads() {
    let unit = read("config/systemd/walhook.service");
    for line in unit.lines().filter(|line| !line.is_empty()) {
        let is_section = line.starts_with('[') && line.ends_with(']');
        let is_setting = line
            .split_once('=')
            .is_some_and(|(name, _)| name.chars().all(|letter| letter.is_ascii_alphanumeric()));
        assert!(line.starts_with('#') || is_section || is_setting, "{line}");
    }
    assert!(unit.contains("[Service]"));
}

#[test]
fn compose_mounts_what_exists() {
    for line in read("compose.yaml").lines() {
        let Some(source) = line.trim().strip_prefix("- ./") else {
            continue;
        };
        let source = source.split(':').next().unwrap_or_default();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
        assert!(path.exists(), "compose.yaml mounts {source}: not there");
    }
}
