//! What publishing a table would do to the application's own writes: `check` says it of
//! every shape of table before anything is made, as the server then does it.

mod shapes;

use std::collections::BTreeMap;

use crate::harness::TestDatabase;
use crate::harness::command::Project;

use super::check::{failures_with_mends, version};
use shapes::Published::{Harmful, Harmless};
use shapes::{SHAPES, Shape};

#[tokio::test]
async fn check_says_of_every_shape_what_the_server_does_and_its_sql_mends_it() {
    let database = TestDatabase::create().await;
    let client = &database.client;
    let major = version(&database).await / 10_000;
    let shapes: Vec<&Shape> = SHAPES.iter().filter(|shape| shape.from <= major).collect();
    for shape in &shapes {
        client.batch_execute(&shape.sql()).await.unwrap();
        shape.writes(client).await.unwrap();
        let refused = shape.published_as_it_is(client).await.is_err();
        // Stored generated columns harm on 18 unless the publication carries them; ours does.
        let expected = shape.published == Harmful
            || (shape.published == Harmless && major >= 18 && shape.name.starts_with("generated_"));
        assert_eq!(refused, expected, "{} on {major}", shape.name);
    }

    let rules: String = shapes.iter().map(|shape| shape.rule()).collect();
    let project = Project::of(&database, &rules);
    let answer = project.walhook(&["check", "--json"]).await.exits(1).json();
    let mut said: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (what, fixes) in failures_with_mends(&answer) {
        let shape = shapes.iter().filter(|shape| {
            let table = format!("public.{}", shape.name);
            what.starts_with(&format!("{table} ")) || what.starts_with(&format!("{table}_"))
        });
        // The longest name: `nothing_keyless` is no partition of `nothing`.
        let shape = shape.max_by_key(|shape| shape.name.len());
        let shape = shape.unwrap_or_else(|| panic!("of which table is this? {what}"));
        said.entry(shape.name).or_default().extend(fixes);
    }
    let stand_against: Vec<&str> = {
        let mut names: Vec<&str> = shapes
            .iter()
            .filter(|shape| shape.published != Harmless)
            .map(|shape| shape.name)
            .collect();
        names.sort_unstable();
        names
    };
    assert_eq!(said.keys().copied().collect::<Vec<_>>(), stand_against);

    let refused = project.walhook(&["setup"]).await.exits(1);
    refused.says("nothing was changed");
    for statement in said.values().flatten() {
        client.batch_execute(statement).await.unwrap();
    }
    project.walhook(&["check"]).await.exits(0);
    project.walhook(&["setup"]).await.exits(0);
    // The promise behind it.
    for shape in &shapes {
        let written = shape.writes(client).await;
        assert!(written.is_ok(), "{}: {written:?}", shape.name);
    }
    project
        .walhook(&["check"])
        .await
        .exits(0)
        .says("carries exactly the tables");
}

#[tokio::test]
async fn a_generated_column_in_a_replica_identity_is_published_where_the_server_can() {
    for shape in SHAPES
        .iter()
        .filter(|shape| shape.name.starts_with("generated_"))
    {
        let database = TestDatabase::create().await;
        database.client.batch_execute(&shape.sql()).await.unwrap();
        let project = Project::of(&database, &shape.rule());
        project.walhook(&["setup"]).await.exits(0);
        let written = shape.writes(&database.client).await;
        assert!(written.is_ok(), "{}: {written:?}", shape.name);
        project
            .walhook(&["check"])
            .await
            .exits(0)
            .says("no failures");
    }
}

/// (name, its key, what makes it, what is said of it)
const NEVER_PUBLISHED: [(&str, &str, &str, &str); 6] = [
    ("public.seen", "id", "create table t (id bigint primary key, tenant_id text); create view seen as select * from t", "it is a view"),
    ("public.kept", "id", "create materialized view kept as select * from t", "it is a materialized view"),
    (
        "public.remote", "id",
        "create foreign data wrapper none; create server elsewhere foreign data wrapper none;
         create foreign table remote (id bigint, tenant_id text) server elsewhere",
        "it is a foreign table",
    ),
    (
        "public.mixed", "id",
        "create table mixed (id bigint, tenant_id text) partition by range (id);
         create foreign table mixed_far partition of mixed for values from (0) to (10) server elsewhere",
        "it is a foreign table",
    ),
    ("pg_catalog.pg_description", "objoid", "", "PostgreSQL's own"),
    ("information_schema.sql_features", "feature_id", "", "PostgreSQL's own"),
];

#[tokio::test]
async fn what_can_never_be_published_is_said_and_nothing_is_made() {
    let database = TestDatabase::create().await;
    let mut rules = String::new();
    for (name, key, sql, _) in NEVER_PUBLISHED {
        database.client.batch_execute(sql).await.unwrap();
        rules += &format!(
            "[[events]]\ntype = 'thing.made'\nname = '{name}'\ntable = '{name}'\non = ['insert']\ntenant = {{ value = 'a' }}\nkey = ['{key}']\n"
        );
    }
    let project = Project::of(&database, &rules);
    let answer = project.walhook(&["check", "--json"]).await.exits(1).json();
    let failures = super::check::of_level(&answer, "failure");
    for (name, _, _, said) in NEVER_PUBLISHED {
        let table = name.replace("mixed", "mixed_far");
        assert!(
            failures.iter().any(|failure| failure
                .starts_with(&format!("{table} must not be published"))
                && failure.contains(said)),
            "{name}: {failures:#?}"
        );
    }
    assert_eq!(failures.len(), NEVER_PUBLISHED.len(), "{failures:#?}");
    assert!(
        failures_with_mends(&answer)
            .iter()
            .all(|(_, mend)| mend.is_empty())
    );
    project
        .walhook(&["setup"])
        .await
        .exits(1)
        .says("nothing was changed");
}

#[tokio::test]
async fn rules_that_would_never_match_or_never_end_are_found() {
    let database = TestDatabase::create().await;
    let tables = "
        create table ledger (id bigint primary key, tenant_id text) partition by range (id);
        create table ledger_1 partition of ledger for values from (0) to (10);
        create table ledger_2 partition of ledger for values from (10) to (20);
        create table parent (id bigint primary key, tenant_id text);
        create table child () inherits (parent);
        create table payments (id bigint primary key, tenant_id text);";
    database.client.batch_execute(tables).await.unwrap();
    let rule = |table: &str| {
        format!(
            "[[events]]\ntype = 'thing.made'\nname = '{table}'\ntable = '{table}'\non = ['insert']\nkey = ['id']\n"
        )
    };
    let project = Project::of(&database, &rule("public.payments"));
    project.walhook(&["setup"]).await.exits(0);
    let rules = [
        "public.ledger",
        "public.ledger_1",
        "public.parent",
        "walhook.webhook_subscriptions",
    ];
    project.write(&Project::config(
        &database,
        &database.url,
        &rules.map(rule).concat(),
    ));
    let answer = project.walhook(&["check", "--json"]).await.exits(1).json();
    let failures = super::check::of_level(&answer, "failure").join("\n");
    assert!(
        failures.contains("public.ledger_1 is a partition of public.ledger"),
        "{failures}"
    );
    assert!(
        failures.contains("walhook.webhook_subscriptions is in the schema of walhook's store"),
        "{failures}"
    );
    let warnings = super::check::of_level(&answer, "warning").join("\n");
    assert!(
        warnings.contains("other tables inherit from public.parent"),
        "{warnings}"
    );

    // And so it is: published together, a partition's rows come under the root alone.
    let published = "
        select pg_create_logical_replication_slot('both_' || current_database(), 'pgoutput');
        insert into ledger values (1, 'a')";
    let publication = "create publication both_of_them for table only ledger, only ledger_1
        with (publish_via_partition_root = true)";
    database.client.batch_execute(publication).await.unwrap();
    for statement in published.split(';') {
        database.client.batch_execute(statement).await.unwrap();
    }
    let roots = "
        select count(*)
        from pg_logical_slot_get_binary_changes('both_' || current_database(), null, null,
            'proto_version', '1', 'publication_names', 'both_of_them')
        where get_byte(data, 0) = ascii('I')
            and substr(data, 2, 4) = int4send('ledger'::regclass::oid::integer)";
    let under_the_root: i64 = database.client.query_one(roots, &[]).await.unwrap().get(0);
    assert_eq!(under_the_root, 1);
    let drop = "select pg_drop_replication_slot('both_' || current_database())";
    database.client.batch_execute(drop).await.unwrap();
}

#[tokio::test]
async fn the_publications_of_others_are_not_ours_to_judge() {
    let database = TestDatabase::create().await;
    let theirs = format!(
        "{}; create table log (line text); create publication theirs for all tables",
        super::PAYMENTS
    );
    database.client.batch_execute(&theirs).await.unwrap();
    let project = Project::of(&database, super::PAYMENT_RULE);
    project.walhook(&["check"]).await.exits(0);
    project.walhook(&["setup"]).await.exits(0);
    project
        .walhook(&["check"])
        .await
        .exits(0)
        .says("no failures");
}
