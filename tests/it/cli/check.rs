//! `walhook check` on good and on bad databases.

use serde_json::Value;

use crate::harness::command::Project;
use crate::harness::{TestDatabase, start_postgres};

use super::{LEAD_RULE, PAYMENT_RULE, PAYMENTS};

/// The findings of a level, each as `what: why`.
pub(super) fn of_level(answer: &Value, level: &str) -> Vec<String> {
    let findings = answer["findings"].as_array().unwrap().iter();
    findings
        .filter(|finding| finding["level"] == level)
        .map(|finding| {
            let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
            format!("{}: {}", text("what"), text("why"))
        })
        .collect()
}

/// What the failures are of, each with the statements that fix it.
pub(super) fn failures_with_mends(answer: &Value) -> Vec<(String, Vec<String>)> {
    let findings = answer["findings"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    findings
        .filter(|finding| finding["level"] == "failure")
        .map(|finding| {
            let mend = finding["mend"].as_array();
            let mend = mend.map_or(Vec::new(), |mend| mend.iter().map(text).collect());
            (text(&finding["what"]), mend)
        })
        .collect()
}

/// The statements that fix the failures.
fn fixes(answer: &Value) -> Vec<String> {
    let findings = answer["findings"].as_array().unwrap().iter();
    findings
        .filter(|finding| finding["level"] == "failure")
        .flat_map(|finding| finding["mend"].as_array().cloned().unwrap_or_default())
        .map(|statement| statement.as_str().unwrap().to_owned())
        .collect()
}

pub(super) async fn version(database: &TestDatabase) -> i32 {
    let query = "select current_setting('server_version_num')::integer";
    database.client.query_one(query, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_good_database_passes_before_and_after_setup() {
    let database = TestDatabase::create().await;
    database.client.batch_execute(PAYMENTS).await.unwrap();
    let project = Project::of(&database, PAYMENT_RULE);
    let before = project.walhook(&["check"]).await.exits(0);
    before.says("walhook setup").says("no failures");
    project.walhook(&["check", "--strict"]).await.exits(1);
    // It is read-only: still nothing is there.
    let made = "select (select count(*) from pg_publication) + (select count(*) from pg_namespace where nspname = 'walhook')";
    let made: i64 = database.client.query_one(made, &[]).await.unwrap().get(0);
    assert_eq!(made, 0);

    project.walhook(&["setup"]).await.exits(0);
    let after = project.walhook(&["check", "--json"]).await.exits(0).json();
    assert_eq!(of_level(&after, "failure"), [""; 0]);
    assert_eq!(of_level(&after, "setup"), [""; 0]);
    // The harness logs in as a superuser: that is said.
    assert!(
        of_level(&after, "warning")
            .iter()
            .any(|warning| warning.contains("superuser"))
    );
}

#[tokio::test]
async fn what_stands_against_publishing_is_found_and_its_sql_mends_it() {
    let database = TestDatabase::create().await;
    let tables = "
        create table payments (id bigint not null, tenant_id text not null, status text);
        create table ledger (id bigint not null, tenant_id text not null) partition by range (id);
        create table ledger_1 partition of ledger for values from (0) to (10);
        create table ledger_2 partition of ledger for values from (10) to (20);
        alter table ledger_2 replica identity full;
        create unlogged table visits (id bigint primary key, tenant_id text not null);
        create table orders (id bigint primary key, tenant_id text not null);
        alter table orders replica identity nothing;";
    database.client.batch_execute(tables).await.unwrap();
    let rule = |table: &str| {
        format!(
            "[[events]]\ntype = '{table}.made'\ntable = 'public.{table}'\non = ['insert']\nkey = ['id']\n"
        )
    };
    let rules: String = ["payments", "ledger", "visits", "orders"]
        .map(rule)
        .concat();
    let project = Project::of(&database, &rules);
    let answer = project.walhook(&["check", "--json"]).await.exits(1).json();
    let failures = of_level(&answer, "failure");
    for table in ["payments", "ledger_1", "visits", "orders"] {
        let named = format!("public.{table} must not be published");
        assert!(
            failures.iter().any(|failure| failure.contains(&named)),
            "{table}: {failures:#?}"
        );
    }
    assert_eq!(failures.len(), 4, "{failures:#?}");
    project
        .walhook(&["setup"])
        .await
        .exits(1)
        .says("nothing was changed")
        .says("replica identity full");

    for statement in fixes(&answer) {
        database.client.batch_execute(&statement).await.unwrap();
    }
    let answer = project.walhook(&["check", "--json"]).await.exits(0).json();
    assert_eq!(of_level(&answer, "failure"), [""; 0]);
    project.walhook(&["setup"]).await.exits(0);
    // The promise behind it: the application's own writes go on.
    let writes = "
        insert into payments values (1, 'a', 'new'); update payments set status = 'paid'; delete from payments;
        insert into ledger values (1, 'a'), (11, 'a'); update ledger set tenant_id = 'b'; delete from ledger;
        insert into visits values (1, 'a'); update visits set tenant_id = 'b'; delete from visits;
        insert into orders values (1, 'a'); update orders set tenant_id = 'b'; delete from orders;";
    database.client.batch_execute(writes).await.unwrap();
}

#[tokio::test]
async fn wrong_names_in_rules_are_found_with_the_nearest() {
    let database = TestDatabase::create().await;
    database.client.batch_execute(PAYMENTS).await.unwrap();
    let rules = "
        [[events]]
        type = 'payment.paid'
        table = 'public.paymnets'
        [[events]]
        type = 'payment.received'
        table = 'public.payments'
        on = ['insert']
        when = \"statsu = 'paid'\"
        [[events]]
        type = 'payment.changed'
        table = 'public.payments'
        old_values = 'full'
        when = \"became(status = 'paid')\"";
    let project = Project::of(&database, rules);
    let answer = project.walhook(&["check", "--json"]).await.exits(1).json();
    let failures = of_level(&answer, "failure");
    for said in [
        "did you mean `public.payments`",
        "did you mean `status`",
        "replica identity full",
    ] {
        assert!(
            failures
                .iter()
                .any(|failure| failure.to_lowercase().contains(said)),
            "{said}: {failures:#?}"
        );
    }
    assert!(
        failures
            .iter()
            .all(|failure| failure.contains("walhook.toml:")),
        "{failures:#?}"
    );
}

#[tokio::test]
async fn a_default_tenant_that_fits_no_table_is_one_failure_that_names_the_rules() {
    let database = TestDatabase::create().await;
    let tables = "create table payments (id bigint primary key, tenant text);
        create table orders (id bigint primary key, tenant text);
        create table leads (id bigint primary key, tenant text);";
    database.client.batch_execute(tables).await.unwrap();
    let rule = |event: &str, table: &str, more: &str| {
        format!("[[events]]\ntype = '{event}'\ntable = 'public.{table}'\non = ['insert']\n{more}\n")
    };
    let rules = [
        rule("payment.made", "payments", ""),
        rule("payment.seen", "payments", ""),
        rule("order.made", "orders", ""),
        rule("lead.made", "leads", "tenant = 'tenant'"),
        "[defaults]\ntenant = 'tenant_id'\n".to_owned(),
    ];
    let project = Project::of(&database, &rules.concat());
    let answer = project.walhook(&["check", "--json"]).await.exits(1).json();
    let failures = of_level(&answer, "failure");
    assert_eq!(failures.len(), 1, "{failures:#?}");
    for part in [
        "walhook.toml:",
        "defaults.tenant: does not fit 3 rules that have no `tenant` of their own: ",
        "table `public.payments` has no column `tenant_id`; did you mean `tenant`?",
        "(rules `payment.made@public.payments`, `payment.seen@public.payments`)",
        "table `public.orders` has no column `tenant_id`",
        "(rule `order.made@public.orders`)",
    ] {
        assert!(failures[0].contains(part), "{part}: {failures:#?}");
    }
    project
        .walhook(&["setup"])
        .await
        .exits(1)
        .says("defaults.tenant: does not fit 3 rules");
}

#[tokio::test]
async fn a_publication_that_differs_is_found_and_its_sql_mends_it() {
    let database = TestDatabase::create().await;
    database.client.batch_execute(PAYMENTS).await.unwrap();
    // Row filters and column lists came with 15.
    let filters = version(&database).await >= 150_000;
    let narrowed = match filters {
        true => "payments (id, tenant_id) where (id > 10)",
        false => "payments",
    };
    let made = format!(
        "create table log (line text);
         create publication walhook for table {narrowed}, log with (publish = 'insert')"
    );
    database.client.batch_execute(&made).await.unwrap();
    let project = Project::of(&database, PAYMENT_RULE);
    let answer = project.walhook(&["check", "--json"]).await.exits(1).json();
    let failures = of_level(&answer, "failure").join("\n");
    let always = ["insert, update, delete and truncate", "harms public.log"];
    let from_15 = ["filters the rows", "only some columns"];
    for said in always.iter().chain(from_15.iter().filter(|_| filters)) {
        assert!(failures.contains(said), "{said}:\n{failures}");
    }
    assert!(
        of_level(&answer, "warning")
            .join("\n")
            .contains("no rule watches")
    );
    for statement in fixes(&answer) {
        // Naming all tables already took out the one that is then dropped alone.
        let fixed = database.client.batch_execute(&statement).await;
        assert!(
            fixed.is_ok() || statement.contains("drop table"),
            "{statement}"
        );
    }
    project
        .walhook(&["check"])
        .await
        .exits(0)
        .says("exactly the tables");

    let all = "drop publication walhook; create publication walhook for all tables";
    database.client.batch_execute(all).await.unwrap();
    let answer = project.walhook(&["check"]).await.exits(1);
    answer.says("FOR ALL TABLES").says("source.publication");
    project
        .walhook(&["setup"])
        .await
        .exits(1)
        .says("FOR ALL TABLES");
}

#[tokio::test]
async fn a_key_that_others_can_read_is_a_failure() {
    use std::os::unix::fs::PermissionsExt;
    let database = TestDatabase::create().await;
    database.client.batch_execute(PAYMENTS).await.unwrap();
    let project = Project::of(&database, PAYMENT_RULE);
    project.walhook(&["setup"]).await.exits(0);
    let key = project.directory.path().join("walhook.key");
    assert_eq!(
        std::fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    project.walhook(&["check"]).await.exits(1).says("chmod 600");
}

#[tokio::test]
async fn a_server_that_logs_too_little_is_told_to_change_and_nothing_is_made() {
    let settings = [("wal_level", "replica"), ("max_replication_slots", "0")];
    let server = start_postgres(&settings).unwrap();
    let database = TestDatabase::create_on(&server).await;
    database.client.batch_execute(PAYMENTS).await.unwrap();
    let project = Project::of(&database, PAYMENT_RULE);
    let answer = project.walhook(&["check"]).await.exits(1);
    answer
        .says("alter system set wal_level = 'logical';")
        .says("restart")
        .says("all 0 slots are in use");
    project
        .walhook(&["setup"])
        .await
        .exits(1)
        .says("nothing was changed");
    assert!(!project.directory.path().join("walhook.key").exists());
}

#[tokio::test]
async fn generated_columns_under_a_full_identity_do_no_harm() {
    let database = TestDatabase::create().await;
    let tables = "
        create table invoices (id bigint primary key, tenant_id text not null, net integer,
            gross integer generated always as (net * 119 / 100) stored);
        alter table invoices replica identity full;";
    database.client.batch_execute(tables).await.unwrap();
    let rule = "[[events]]\ntype = 'invoice.created'\ntable = 'public.invoices'\non = ['insert']\n";
    let project = Project::of(&database, rule);
    project.walhook(&["check"]).await.exits(0);
    project.walhook(&["setup"]).await.exits(0);
    // PostgreSQL 18 refuses these unless the publication carries the column (42P10).
    let writes = "insert into invoices values (1, 'a', 100); update invoices set net = 200; delete from invoices";
    database.client.batch_execute(writes).await.unwrap();
    project.walhook(&["check"]).await.exits(0);

    if version(&database).await >= 180_000 {
        let column =
            "alter table invoices add tax integer generated always as (net * 19 / 100) virtual";
        database.client.batch_execute(column).await.unwrap();
        project
            .walhook(&["check"])
            .await
            .exits(1)
            .says("virtual generated");
    }
}

#[tokio::test]
async fn a_login_that_may_not_open_enough_sessions_is_named_with_what_raises_its_limit() {
    let database = TestDatabase::create().await;
    database.client.batch_execute(PAYMENTS).await.unwrap();
    let login = format!("few_{}", database.name);
    let made = format!(
        "create role {login} login replication connection limit 4;
         grant create on database {} to {login}; grant select on payments to {login}",
        database.name
    );
    database.client.batch_execute(&made).await.unwrap();
    let url = super::least_privilege::url_as(&database, &login);
    let project = Project::new(&Project::config(&database, &url, PAYMENT_RULE));
    let found = project.walhook(&["check", "--json"]).await.exits(1);
    let raised = format!("alter role \"{login}\" connection limit ");
    let grants: Vec<_> = fixes(&found.json())
        .into_iter()
        .filter(|mend| mend.starts_with(&raised))
        .collect();
    assert_eq!(grants.len(), 1, "{}", found.out);
    database.client.batch_execute(&grants[0]).await.unwrap();
    let found = project.walhook(&["check", "--json"]).await;
    assert!(!found.out.contains("sessions at once"), "{}", found.out);

    // The database's own limit counts too.
    let limit = format!("alter database {} connection limit 5", database.name);
    database.client.batch_execute(&limit).await.unwrap();
    let found = project.walhook(&["check", "--json"]).await.exits(1);
    assert!(
        found.out.contains("allows 5 sessions at once"),
        "{}",
        found.out
    );

    // Of a superuser the server's alone does. What is to be set is enough.
    let many = "[store]\nconnections = 5000\n";
    let config = Project::config(&database, &database.url, PAYMENT_RULE);
    let project = Project::new(&format!("{many}{config}"));
    let found = project.walhook(&["check", "--json"]).await.exits(1);
    let set = "alter system set max_connections = ";
    let raised: Vec<u32> = fixes(&found.json())
        .iter()
        .filter_map(|mend| mend.strip_prefix(set)?.split(';').next()?.parse().ok())
        .collect();
    assert!(raised.len() == 1 && raised[0] > 5000, "{}", found.out);
}

#[tokio::test]
async fn a_rule_that_a_move_between_partitions_misleads_is_named() {
    let database = TestDatabase::create().await;
    let made =
        "create table payments (id bigint, tenant_id text not null, status text, region text,
             primary key (id, region)) partition by list (region);
         create table payments_eu partition of payments for values in ('eu');
         create table payments_us partition of payments for values in ('us')";
    database.client.batch_execute(made).await.unwrap();
    let rule = |name: &str, more: &str| {
        format!(
            "[[events]]\nname = '{name}'\ntype = 'payment.x'\ntable = 'public.payments'\n{more}\n"
        )
    };
    let rules = [
        rule("paid", "when = \"became(status = 'paid')\""),
        rule("touched", "on = ['update']\nwhen = 'changed(status)'"),
        rule("gone", "on = ['delete']"),
        rule("made", "on = ['insert']"),
    ]
    .concat();
    let project = Project::of(&database, &rules);
    let answer = project.walhook(&["check", "--json"]).await.json();
    let warnings = of_level(&answer, "warning");
    let moves: Vec<&String> = warnings
        .iter()
        .filter(|warning| warning.contains("move a row to another partition"))
        .collect();
    assert_eq!(moves.len(), 1, "{warnings:#?}");
    assert!(
        moves[0].contains("`paid`, `touched`, `gone`."),
        "{}",
        moves[0]
    );
    let ordinary = Project::of(&database, &rule("made", "on = ['insert']"));
    let answer = ordinary.walhook(&["check", "--json"]).await.json();
    assert!(
        !answer.to_string().contains("another partition"),
        "{answer:#}"
    );
    // Rows of a partition that held some before it was attached.
    assert_eq!(
        answer.to_string().contains("Attach partitions empty"),
        version(&database).await < 150_000
    );
}

/// Under the name of the root, though no rule watches that.
#[tokio::test]
async fn a_partition_beside_its_published_root_is_a_failure() {
    let database = TestDatabase::create().await;
    let made = "create table events (id bigint primary key, tenant_id text) partition by range (id);
         create table events_1 partition of events for values from (0) to (10);
         create publication walhook for table events, events_1 with (publish_via_partition_root = true)";
    database.client.batch_execute(made).await.unwrap();
    let rule = "[[events]]\ntype = 'event.made'\ntable = 'public.events_1'\non = ['insert']\n";
    let project = Project::of(&database, rule);
    project
        .walhook(&["check"])
        .await
        .exits(1)
        .says("public.events_1 is a partition of public.events")
        .says("rules that watch public.events_1 never match");
}

/// What no rule watches may be the very table that a misspelt rule means.
#[tokio::test]
async fn a_table_is_not_to_be_unpublished_while_a_rules_table_is_misspelt() {
    let database = TestDatabase::create().await;
    database.client.batch_execute(PAYMENTS).await.unwrap();
    let publication = "create table leads (id int primary key);
        create publication walhook for table payments, leads";
    database.client.batch_execute(publication).await.unwrap();
    let project = Project::of(&database, PAYMENT_RULE);
    let unwatched = "it publishes public.leads, which no rule watches";
    let checked = project.walhook(&["check"]).await.exits(0);
    checked.says(unwatched).says("drop table");
    let misspelt = format!("{PAYMENT_RULE}{}", LEAD_RULE.replace("leads", "lead"));
    let project = Project::of(&database, &misspelt);
    let checked = project.walhook(&["check"]).await.exits(1);
    let checked = checked.says("did you mean `public.leads`").says(unwatched);
    assert!(!checked.out.contains("drop table"), "{}", checked.out);
}
