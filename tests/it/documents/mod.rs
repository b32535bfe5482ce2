//! README.md and the guide say what is so: links lead somewhere, what can be run is run, and
//! the runbook knows every alert, problem and class of errors.

mod commands;
mod receive;
mod receiving;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use walhook::config::Config;
use walhook::delivery::client::ErrorClass;
use walhook::health::ProblemKind;

use crate::operations;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

/// README.md and the guide's pages, relative to the repository.
fn documents() -> Vec<String> {
    let mut found = vec!["README.md".to_owned()];
    for entry in fs::read_dir(root().join("src/docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") {
            found.push(format!("src/docs/{name}"));
        }
    }
    assert!(found.len() > 10);
    found
}

/// The fenced blocks of a language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    text.split(fence.as_str())
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect()
}

#[test]
fn links_lead_somewhere() {
    for document in documents() {
        let text = read(&document);
        let folder = PathBuf::from(&document).parent().unwrap().to_path_buf();
        let links = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
            .filter(|link| !link.starts_with("http") && !link.starts_with('#'));
        for link in links {
            let path = link.split('#').next().unwrap_or_default();
            let path = root().join(&folder).join(path);
            assert!(path.exists(), "{document} links to {link}");
        }
    }
}

#[test]
fn the_readme_says_of_each_page_what_the_guide_says() {
    let text = read("README.md");
    for page in walhook::docs::PAGES {
        let line = format!("](src/docs/{}.md) | {} |\n", page.name, page.summary);
        assert!(text.contains(&line), "{line}");
    }
}

#[test]
fn the_readme_is_short() {
    assert!(read("README.md").len() <= 12 * 1024);
}

/// `.ci/run` takes the test command from README.md.
#[test]
fn the_readme_says_how_to_test() {
    let text = read("README.md");
    let commands = text.lines().filter(|line| line.ends_with("&& cargo test"));
    assert_eq!(
        commands.count(),
        1,
        "one line of README.md ends with `&& cargo test`"
    );
}

#[test]
fn the_configuration_that_documents_show_is_accepted() {
    let mut count = 0;
    for document in documents() {
        let text = read(&document);
        for block in blocks(&text, "toml") {
            // A block in a list is indented.
            let block = block.replace("\n   ", "\n");
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("walhook.toml");
            fs::write(&file, &block).unwrap();
            let config = Config::load_with(Some(&file), std::iter::empty());
            let rules = config.and_then(|config| config.rules());
            assert!(rules.is_ok(), "{document}: {}\n{block}", rules.unwrap_err());
            count += 1;
        }
    }
    assert!(count >= 5, "{count}");
}

#[test]
fn metrics_that_documents_name_are_exported() {
    let exported = operations::exported();
    for document in documents() {
        let text = read(&document);
        // Names of tables, roles and the like begin alike: a metric stands in backquotes,
        // alone or with its labels.
        for code in text.split('`').skip(1).step_by(2) {
            let name = code.split('{').next().unwrap_or_default();
            let is_metric = name.starts_with("walhook_") || name.starts_with("webhook_");
            let other = ["webhook_deliveries", "walhook_store"].contains(&name)
                || name.starts_with("walhook_tenant");
            if is_metric && !other {
                assert!(exported.contains(name), "{document}: {name}");
            }
        }
    }
}

/// The headings of a section of the runbook.
fn entries(section: &str) -> BTreeSet<String> {
    let text = read("src/docs/runbook.md");
    let (_, rest) = text.split_once(&format!("\n## {section}\n")).unwrap();
    let rest = rest.split("\n## ").next().unwrap();
    let headings = rest.lines().filter_map(|line| line.strip_prefix("### "));
    headings.map(str::to_owned).collect()
}

#[test]
fn the_runbook_has_an_entry_for_every_alert_problem_and_class() {
    let alerts = read("config/prometheus/alerts.yml");
    let alerts = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    assert_eq!(entries("Alerts"), alerts.map(str::to_owned).collect());

    for alert in entries("Alerts") {
        let link = format!("runbook: \"/docs/runbook#{}\"", alert.to_lowercase());
        assert!(
            read("config/prometheus/alerts.yml").contains(&link),
            "{link}"
        );
    }

    let problems = ProblemKind::ALL.map(|kind| kind.as_str().to_owned());
    assert_eq!(entries("Problems"), problems.into_iter().collect());

    let mut classes: BTreeSet<String> = ErrorClass::ALL
        .map(|class| class.as_str().to_owned())
        .into_iter()
        .collect();
    // An attempt that the deletion of its subscription ended.
    classes.insert("cancelled".to_owned());
    assert_eq!(entries("Error classes"), classes);
}

/// The runbook says of each problem whether it takes a node out of service.
#[test]
fn the_runbook_marks_what_takes_a_node_out_of_service() {
    let text = read("src/docs/runbook.md");
    for kind in ProblemKind::ALL {
        let (_, entry) = text
            .split_once(&format!("\n### {}\n", kind.as_str()))
            .unwrap();
        assert_eq!(
            entry.starts_with("(503"),
            kind.affects_readiness(),
            "{kind:?}"
        );
    }
}

/// What leaves a node in service must not wake anybody as if it did not.
#[test]
fn the_alert_of_unready_nodes_is_of_kinds_that_take_them_out_of_service() {
    let alerts = read("config/prometheus/alerts.yml");
    let (_, alert) = alerts.split_once("- alert: WalhookNotReady\n").unwrap();
    let (_, kinds) = alert.split_once("kind=~\"").unwrap();
    let (kinds, _) = kinds.split_once('"').unwrap();
    for name in kinds.split('|') {
        let kind = ProblemKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == name);
        assert!(kind.unwrap().affects_readiness(), "{name}");
    }
}
