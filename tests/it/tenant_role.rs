//! The role that the API's queries run as belongs to one installation.

use uuid::Uuid;
use walhook::conninfo::Purpose;
use walhook::db::{SchemaState, Store, StoreConfig};

use crate::harness::command::Project;
use crate::harness::{TestDatabase, connect, server};

const PAYMENTS: &str = "create table payments (id bigint primary key, tenant_id text not null)";

const PAYMENT_RULE: &str = "
[[events]]
type = 'payment.received'
table = 'public.payments'
on = ['insert']
";

fn project(database: &TestDatabase, tenant_role: &str) -> Project {
    let role = format!("{PAYMENT_RULE}\n[store]\ntenant_role = '{tenant_role}'\n");
    Project::new(&Project::config(database, &database.url, &role))
}

#[tokio::test]
async fn role_of_another_installation_is_not_taken() {
    let (one, other) = (TestDatabase::create().await, TestDatabase::create().await);
    for database in [&one, &other] {
        database.client.batch_execute(PAYMENTS).await.unwrap();
    }
    let role = one.tenant_role();
    project(&one, "").walhook(&["setup"]).await.exits(0);
    let taker = project(&other, &role);
    for command in ["check", "setup"] {
        let answer = taker.walhook(&[command]).await.exits(1);
        answer
            .says(&format!(
                "owns or was granted something already, in {}",
                one.name
            ))
            .says("store.tenant_role");
    }
    let made = "select exists (select from pg_namespace where nspname = 'walhook')";
    let row = other.client.query_one(made, &[]).await.unwrap();
    assert!(!row.get::<_, bool>(0));
    // One that nothing else uses is taken, also where another login made it.
    let own = format!("own_{}", other.name);
    let create = format!("create role {own}");
    other.client.batch_execute(&create).await.unwrap();
    project(&other, &own).walhook(&["setup"]).await.exits(0);
    project(&other, "").walhook(&["check"]).await.exits(0);
    // Another name than the store's is no way to another role.
    let answer = project(&other, "another").walhook(&["check"]).await;
    answer.exits(1).says("store.tenant_role is `another`");
    let answer = project(&other, "another").walhook(&["token", "list"]).await;
    answer.exits(1).says("take the key out");
}

#[tokio::test]
async fn store_keeps_its_role_under_another_database_name() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let role = database.tenant_role();
    let (name, renamed) = (&database.name, format!("{}_restored", database.name));
    drop(store);
    let admin = connect(&server().url("postgres")).await;
    let rename = format!("alter database {name} rename to {renamed}");
    let end = format!(
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = '{name}'"
    );
    admin.batch_execute(&end).await.unwrap();
    admin.batch_execute(&rename).await.unwrap();
    let url = server().url(&renamed);
    let store = Store::open(&StoreConfig::default(), &url.as_str().into(), Purpose::Api).unwrap();
    let state = store.schema_state().await.unwrap();
    assert_eq!(
        state,
        SchemaState::Current {
            tenant_role: role.clone()
        }
    );
    let mut client = store.get().await.unwrap();
    let transaction = walhook::db::tenant_transaction(&mut client, "acme")
        .await
        .unwrap();
    let row = transaction
        .query_one("select current_user::text", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, String>(0), role);
}

#[tokio::test]
async fn transaction_of_a_tenant_never_keeps_the_logins_rights() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let emptied = "delete from walhook.store";
    database.client.batch_execute(emptied).await.unwrap();
    let mut client = store.get().await.unwrap();
    let begun = walhook::db::tenant_transaction(&mut client, "acme").await;
    assert!(begun.is_err());
}

#[tokio::test]
async fn role_has_rights_on_whole_tables_and_nothing_else() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let client = store.get().await.unwrap();
    walhook::delivery::partitions::ensure(&client, [Uuid::now_v7()].into_iter())
        .await
        .unwrap();
    let role = database.tenant_role();
    let row = "select rolcanlogin or rolsuper or rolcreaterole or rolcreatedb or rolbypassrls or rolreplication
        from pg_roles where rolname = $1";
    let row = database.client.query_one(row, &[&role]).await.unwrap();
    assert!(!row.get::<_, bool>(0));
    let owned = "select count(*) from pg_shdepend s join pg_roles r on r.oid = s.refobjid
        where s.refclassid = 'pg_authid'::regclass and r.rolname = $1 and s.deptype = 'o'";
    let owned = database.client.query_one(owned, &[&role]).await.unwrap();
    assert_eq!(owned.get::<_, i64>(0), 0);
    // Of tables that partition others, and of views, there is none among them.
    let granted = "select string_agg(c.relname, ' ' order by c.relname)
        from pg_class c
        where c.relnamespace <> 'pg_catalog'::regnamespace
            and c.relnamespace <> 'information_schema'::regnamespace
            and (c.relispartition or c.relkind not in ('r', 'p'))
            and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
            and (has_table_privilege($1, c.oid, 'select, insert, update, delete, truncate, references, trigger')
                or has_any_column_privilege($1, c.oid, 'select, insert, update'))";
    let granted = database.client.query_one(granted, &[&role]).await.unwrap();
    assert_eq!(granted.get::<_, Option<String>>(0), None);
}

#[tokio::test]
async fn rows_that_name_another_tenants_are_refused_to_the_role() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let mut client = store.get().await.unwrap();
    let id = Uuid::now_v7();
    walhook::delivery::partitions::ensure(&client, [id].into_iter())
        .await
        .unwrap();
    // One event, subscription and delivery of each, whose ids end alike.
    client
        .batch_execute(&format!(
            "with made as (select tenant, overlay('{id}' placing n from 36)::uuid as id
                from (values ('acme', '1'), ('globex', '2')) t (tenant, n)),
            subscriptions as (insert into webhook_subscriptions
                    (id, tenant_id, url, events, secret, secret_hint, from_lsn)
                select id, tenant, 'https://example.com', '{{*}}', '\\x00', 'x', '0/0' from made),
            events as (insert into webhook_events (id, tenant_id, event_type, rule, commit_lsn, ordinal,
                    rule_index, row_key, occurred_at, body)
                select id, tenant, 't', 'r', '0/1', 1, 0, '', now(), '' from made)
            insert into webhook_deliveries (id, event_id, subscription_id, tenant_id, event_type, format)
            select id, id, id, tenant, 't', 'standard' from made"
        ))
        .await
        .unwrap();
    let one = |n: u8| format!("overlay('{id}' placing '{n}' from 36)::uuid");
    let delivery = |event: u8, subscription: u8, tenant: &str| {
        format!(
            "insert into webhook_deliveries (id, event_id, subscription_id, tenant_id, event_type, format)
             values ({}, {}, {}, '{tenant}', 't', 'standard')",
            one(3),
            one(event),
            one(subscription)
        )
    };
    let schedule = |delivery: u8, subscription: u8, tenant: &str| {
        format!(
            "insert into delivery_schedule (delivery_id, subscription_id, tenant_id, event_type, status, due_at)
             values ({}, {}, '{tenant}', 't', 'pending', now())",
            one(delivery),
            one(subscription)
        )
    };
    let own = [delivery(1, 1, "acme"), schedule(1, 1, "acme")];
    let foreign = [
        delivery(2, 1, "acme"),
        delivery(1, 2, "acme"),
        delivery(2, 2, "globex"),
        schedule(2, 1, "acme"),
        schedule(1, 2, "acme"),
        schedule(2, 2, "globex"),
        format!(
            "{}; update webhook_deliveries set event_id = {}",
            own[0],
            one(2)
        ),
        format!(
            "{}; update webhook_deliveries set subscription_id = {}",
            own[0],
            one(2)
        ),
        format!(
            "{}; update delivery_schedule set subscription_id = {}",
            own[1],
            one(2)
        ),
        format!(
            "{}; update delivery_schedule set delivery_id = {}",
            own[1],
            one(2)
        ),
    ];
    let own = own.iter().map(|sql| (sql, true));
    for (sql, allowed) in own.chain(foreign.iter().map(|sql| (sql, false))) {
        let transaction = walhook::db::tenant_transaction(&mut client, "acme")
            .await
            .unwrap();
        let done = transaction.batch_execute(sql).await;
        assert_eq!(done.is_ok(), allowed, "{sql}: {done:?}");
        transaction.rollback().await.unwrap();
    }
}
