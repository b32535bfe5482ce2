//! Every shape of table, and what publishing it does.

use walhook::conninfo::Client;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Published {
    /// The application writes on.
    Harmless,
    /// The server refuses the publication, or the application's writes once it is there.
    Harmful,
    /// Nothing is refused, and nothing (or not all) of it is in the WAL.
    Unseen,
}

use Published::{Harmful, Harmless, Unseen};

/// A table `T` with id, tenant_id and note; `from`: the release that can make it.
pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) from: i32,
    pub(super) published: Published,
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

pub(super) const SHAPES: &[Shape] = &[
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
    pub(super) fn rule(&self) -> String {
        let name = self.name;
        format!(
            "[[events]]\ntype = '{name}.made'\ntable = 'public.{name}'\non = ['insert']\nkey = ['id']\n"
        )
    }

    pub(super) fn sql(&self) -> String {
        self.sql
            .replace("T_", &format!("{}_", self.name))
            .replace('T', self.name)
    }

    pub(super) async fn writes(&self, client: &Client) -> Result<(), tokio_postgres::Error> {
        let name = self.name;
        let writes = format!(
            "insert into {name} (id, tenant_id, note) values (1, 'a', 'new'), (11, 'a', 'new');
             update {name} set note = 'seen'; delete from {name}"
        );
        client.batch_execute(&writes).await
    }

    /// Publishes it as it is and writes to it; nothing of it stays.
    pub(super) async fn published_as_it_is(
        &self,
        client: &Client,
    ) -> Result<(), tokio_postgres::Error> {
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
