//! The shipped event files against the demo's tables on a real server.

use std::path::{Path, PathBuf};

use walhook::config::Config;
use walhook::mapping::{RuleSet, TableDescription, TableName, example};
use walhook::source::catalog;

use crate::harness::TestDatabase;

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The rules of one file, or of a text, with everything else at its default.
fn load(path: &Path) -> (Config, RuleSet) {
    let config = Config::load_with(Some(path), std::iter::empty()).unwrap();
    let rules = config.rules().unwrap();
    (config, rules)
}

async fn demo_database() -> TestDatabase {
    let database = TestDatabase::create().await;
    for file in ["sql/demo/01_schema.sql", "sql/demo/02_more_tables.sql"] {
        let schema = std::fs::read_to_string(in_repository(file)).unwrap();
        database.client.batch_execute(&schema).await.unwrap();
    }
    database
}

async fn describe(database: &TestDatabase, rules: &RuleSet) -> Vec<TableDescription> {
    let names: Vec<TableName> = rules.tables().cloned().collect();
    let described = catalog::describe(&database.client, &names).await.unwrap();
    described.iter().map(|table| table.description()).collect()
}

#[tokio::test]
async fn every_shipped_event_file_fits_the_demo_tables() {
    let database = demo_database().await;
    let mut files: Vec<_> = std::fs::read_dir(in_repository("config/events"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let mut types = Vec::new();
    for file in &files {
        let (config, rules) = load(file);
        let errors = rules.check(&describe(&database, &rules).await, &[]);
        assert!(errors.is_empty(), "{}", config.locate(errors));
        let examples = example::run(&rules, &config.events, &describe(&database, &rules).await);
        assert!(examples.held > 0, "{} has no example", file.display());
        assert!(
            examples.failures.is_empty(),
            "{}",
            config.locate(examples.failures)
        );
        types.extend(rules.event_types().map(|event_type| event_type.to_string()));
    }
    assert_eq!(
        types,
        [
            "document.updated",
            "error.occurred",
            "inventory.low",
            "inventory.updated",
            "invoice.created",
            "invoice.sent",
            "invoice.paid",
            "invoice.overdue",
            "invoice.cancelled",
            "customer.created",
            "customer.updated",
            "payment.received",
            "payment.failed",
            "purchase_order.created",
            "purchase_order.received",
            "sales_order.created",
            "sales_order.confirmed",
            "sales_order.cancelled",
        ]
    );
}

#[tokio::test]
async fn a_typo_is_named_with_its_file_line_and_the_nearest_name() {
    let database = demo_database().await;
    database
        .client
        .batch_execute(
            "create table plain (id int primary key, tenant_id text, total numeric,
                gross numeric generated always as (total * 2) stored)",
        )
        .await
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("walhook.toml");
    let text = "[[events]]\ntype = 'a'\ntable = 'payments'\nwhen = \"became(statsu = 'x')\"\n\
                [[events]]\ntype = 'b'\ntable = 'payment'\n\
                [[events]]\ntype = 'c'\ntable = 'plain'\nwhen = \"changed(total)\"\nold_values = 'full'\n\
                [[events]]\ntype = 'd'\ntable = 'plain'\n[events.data]\ngross = 'gross'\n";
    std::fs::write(&file, text).unwrap();
    let (config, rules) = load(&file);
    let existing = catalog::list(&database.client).await.unwrap();
    let errors = rules.check(&describe(&database, &rules).await, &existing);
    let problems = config.locate(errors).to_string();
    let problems: Vec<_> = problems.lines().collect();
    for (problem, (line, text)) in problems.iter().zip([
        (4, "events[0].when: rule `a@public.payments`: column 8: table `public.payments` has no column `statsu`; did you mean `status`?"),
        (7, "did you mean `public.payments`?"),
        (11, "alter table public.plain replica identity full;"),
        (17, "column `gross` is generated"),
    ]) {
        let place = format!("{}:{line}: ", file.display());
        assert!(problem.starts_with(&place) && problem.contains(text), "{problem}");
    }
    assert_eq!(problems.len(), 4, "{problems:#?}");
}
