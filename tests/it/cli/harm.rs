//! What publishing a table would do to the application's own writes: `check` says it of
//! every shape of table before anything is made, as the server then does it.

use std::collections::BTreeMap;

use tokio_postgres::Client;

use crate::harness::TestDatabase;
use crate::harness::command::Project;

use super::check::{failures_with_mends, version};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Published {
    /// The application writes on.
    Harmless,
    /// The server refuses the publication, or the application's writes once it is there.
    Harmful,
    /// Nothing is refused, and nothing (or not all) of it is in the log.
    Unseen,
}

use Published::{Harmful, Harmless, Unseen};

/// A table `T` with id, tenant_id and note; `from`: the release that can make it.
struct Shape {
    name: &'static str,
    from: i32,
    published: Published,
    sql: &'static str,
}

const fn shape(name: &'static str, published: Published, sql: &'static str) -> Shape {
    Shape {
        name,
        from: 14,
        published,
        sql,
    }
}

const SHAPES: &[Shape] = &[
    shape(
        "keyed",
        Harmless,
        "create table T (id bigint primary key, tenant_id text, note text)",
    ),
    shape(
        "keyless",
        Harmful,
        "create table T (id bigint, tenant_id text, note text)",
    ),
    shape(
        "keyless_full",
        Harmless,
        "create table T (id bigint, tenant_id text, note text); alter table T replica identity full",
    ),
    shape(
        "unique_only",
        Harmful,
        "create table T (id bigint not null unique, tenant_id text, note text)",
    ),
    shape(
        "nothing",
        Harmful,
        "create table T (id bigint primary key, tenant_id text, note text); alter table T replica identity nothing",
    ),
    shape(
        "nothing_keyless",
        Harmful,
        "create table T (id bigint, tenant_id text, note text); alter table T replica identity nothing",
    ),
    shape(
        "by_index",
        Harmless,
        "create table T (id bigint not null, tenant_id text, note text); create unique index T_i on T (id);
         alter table T replica identity using index T_i",
    ),
    shape(
        "by_dropped_index",
        Harmful,
        "create table T (id bigint not null, tenant_id text, note text); create unique index T_i on T (id);
         alter table T replica identity using index T_i; drop index T_i",
    ),
    shape(
        "keyed_by_dropped_index",
        Harmful,
        "create table T (id bigint primary key, tenant_id text, note text); create unique index T_i on T (id);
         alter table T replica identity using index T_i; drop index T_i",
    ),
    // What a REINDEX CONCURRENTLY that failed leaves behind.
    shape(
        "by_invalid_index",
        Harmful,
        "create table T (id bigint not null, tenant_id text, note text); create unique index T_i on T (id);
         alter table T replica identity using index T_i;
         update pg_index set indisvalid = false where indexrelid = 'T_i'::regclass",
    ),
    shape(
        "key_deferrable",
        Harmful,
        "create table T (id bigint primary key deferrable, tenant_id text, note text)",
    ),
    shape(
        "unlogged",
        Harmful,
        "create unlogged table T (id bigint primary key, tenant_id text, note text)",
    ),
    shape(
        "parent",
        Harmless,
        "create table T (id bigint primary key, tenant_id text, note text); create table T_child () inherits (T)",
    ),
    shape(
        "partitioned",
        Harmless,
        "create table T (id bigint primary key, tenant_id text, note text) partition by range (id);
         create table T_1 partition of T for values from (0) to (10);
         create table T_2 partition of T for values from (10) to (20)",
    ),
    shape(
        "leaf_keyless",
        Harmful,
        "create table T (id bigint, tenant_id text, note text) partition by range (id);
         create table T_1 partition of T (primary key (id)) for values from (0) to (10);
         create table T_2 partition of T for values from (10) to (20)",
    ),
    shape(
        "leaf_nothing",
        Harmful,
        "create table T (id bigint primary key, tenant_id text, note text) partition by range (id);
         create table T_1 partition of T for values from (0) to (10);
         create table T_2 partition of T for values from (10) to (20);
         alter table T_2 replica identity nothing",
    ),
    shape(
        "leaf_below",
        Harmful,
        "create table T (id bigint, tenant_id text, note text) partition by range (id);
         create table T_1 partition of T (primary key (id)) for values from (0) to (10);
         create table T_2 partition of T for values from (10) to (20) partition by list (tenant_id);
         create table T_2_a partition of T_2 for values in ('a')",
    ),
    // The identity of the root says nothing of its leaves.
    shape(
        "root_full",
        Harmful,
        "create table T (id bigint, tenant_id text, note text) partition by range (id);
         create table T_1 partition of T for values from (0) to (10);
         create table T_2 partition of T for values from (10) to (20);
         alter table T replica identity full",
    ),
    shape(
        "leaf_unlogged",
        Unseen,
        "create table T (id bigint primary key, tenant_id text, note text) partition by range (id);
         create table T_1 partition of T for values from (0) to (10);
         create unlogged table T_2 partition of T for values from (10) to (20)",
    ),
    shape(
        "generated_full",
        Harmless,
        "create table T (id bigint primary key, tenant_id text, note text,
            twice bigint generated always as (id * 2) stored); alter table T replica identity full",
    ),
    shape(
        "generated_key",
        Harmless,
        "create table T (id bigint, tenant_id text, note text,
            twice bigint generated always as (id * 2) stored primary key)",
    ),
    shape(
        "generated_index",
        Harmless,
        "create table T (id bigint primary key, tenant_id text, note text,
            twice bigint generated always as (id * 2) stored not null);
         create unique index T_i on T (twice); alter table T replica identity using index T_i",
    ),
    Shape {
        from: 18,
        ..shape(
            "virtual_keyed",
            Harmless,
            "create table T (id bigint primary key, tenant_id text, note text,
                twice bigint generated always as (id * 2) virtual)",
        )
    },
    Shape {
        from: 18,
        ..shape(
            "virtual_full",
            Harmful,
            "create table T (id bigint primary key, tenant_id text, note text,
                twice bigint generated always as (id * 2) virtual); alter table T replica identity full",
        )
    },
];

impl Shape {
    fn rule(&self) -> String {
        let name = self.name;
        format!(
            "[[events]]\ntype = '{name}.made'\ntable = 'public.{name}'\non = ['insert']\nkey = ['id']\n"
        )
    }

    fn sql(&self) -> String {
        self.sql
            .replace("T_", &format!("{}_", self.name))
            .replace('T', self.name)
    }

    async fn writes(&self, client: &Client) -> Result<(), tokio_postgres::Error> {
        let name = self.name;
        let writes = format!(
            "insert into {name} (id, tenant_id, note) values (1, 'a', 'new'), (11, 'a', 'new');
             update {name} set note = 'seen'; delete from {name}"
        );
        client.batch_execute(&writes).await
    }

    /// Publishes it as it is and writes to it; nothing of it stays.
    async fn published_as_it_is(&self, client: &Client) -> Result<(), tokio_postgres::Error> {
        let publish = format!(
            "begin; create publication as_it_is for table only {} with (publish_via_partition_root = true)",
            self.name
        );
        let written = async {
            client.batch_execute(&publish).await?;
            self.writes(client).await
        };
        let written = written.await;
        client.batch_execute("rollback").await.unwrap();
        written
    }
}

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
    for (what, mends) in failures_with_mends(&answer) {
        let shape = shapes.iter().filter(|shape| {
            let table = format!("public.{}", shape.name);
            what.starts_with(&format!("{table} ")) || what.starts_with(&format!("{table}_"))
        });
        // The longest name: `nothing_keyless` is no partition of `nothing`.
        let shape = shape.max_by_key(|shape| shape.name.len());
        let shape = shape.unwrap_or_else(|| panic!("of which table is this? {what}"));
        said.entry(shape.name).or_default().extend(mends);
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

/// (name, what makes it, what is said of it)
const NEVER_PUBLISHED: [(&str, &str, &str); 6] = [
    ("public.seen", "create table t (id bigint primary key, tenant_id text); create view seen as select * from t", "it is a view"),
    ("public.kept", "create materialized view kept as select * from t", "it is a materialized view"),
    (
        "public.remote",
        "create foreign data wrapper none; create server elsewhere foreign data wrapper none;
         create foreign table remote (id bigint, tenant_id text) server elsewhere",
        "it is a foreign table",
    ),
    (
        "public.mixed",
        "create table mixed (id bigint, tenant_id text) partition by range (id);
         create foreign table mixed_far partition of mixed for values from (0) to (10) server elsewhere",
        "it is a foreign table",
    ),
    ("pg_catalog.pg_description", "", "PostgreSQL's own"),
    ("information_schema.sql_features", "", "PostgreSQL's own"),
];

#[tokio::test]
async fn what_can_never_be_published_is_said_and_nothing_is_made() {
    let database = TestDatabase::create().await;
    let mut rules = String::new();
    for (name, sql, _) in NEVER_PUBLISHED {
        database.client.batch_execute(sql).await.unwrap();
        rules += &format!(
            "[[events]]\ntype = 'thing.made'\nname = '{name}'\ntable = '{name}'\non = ['insert']\ntenant = {{ value = 'a' }}\nkey = ['id']\n"
        );
    }
    let rules = rules.replace(
        "table = 'pg_catalog.pg_description'\non = ['insert']\ntenant = { value = 'a' }\nkey = ['id']",
        "table = 'pg_catalog.pg_description'\non = ['insert']\ntenant = { value = 'a' }\nkey = ['objoid']",
    );
    let rules = rules.replace(
        "table = 'information_schema.sql_features'\non = ['insert']\ntenant = { value = 'a' }\nkey = ['id']",
        "table = 'information_schema.sql_features'\non = ['insert']\ntenant = { value = 'a' }\nkey = ['feature_id']",
    );
    let project = Project::of(&database, &rules);
    let answer = project.walhook(&["check", "--json"]).await.exits(1).json();
    let failures = super::check::of_level(&answer, "failure");
    for (name, _, said) in NEVER_PUBLISHED {
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
