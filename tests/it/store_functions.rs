//! Functions of the store's schema: a holder of the tenant role makes none run its code.

use uuid::Uuid;
use walhook::conninfo::Purpose;
use walhook::db::{Store, StoreConfig, quote_identifier, tenant_transaction};

use crate::harness::TestDatabase;

/// A schema whose name would end any quoting that is not right.
const ODD_SCHEMA: &str = r#"we"ird $x$ $$ 'schema"#;

async fn store_in(database: &TestDatabase, schema: &str) -> Store {
    let config = StoreConfig {
        schema: schema.to_owned(),
        ..StoreConfig::default()
    };
    let store = Store::open(&config, &database.url.as_str().into(), Purpose::Api).unwrap();
    store.create_schema().await.unwrap();
    store
}

#[tokio::test]
async fn no_function_is_executable_by_everybody_and_those_with_the_owners_rights_pin_their_path() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let client = store.get().await.unwrap();
    let functions = "select proname::text, prosecdef, proconfig,
            exists (
                select from aclexplode(coalesce(proacl, acldefault('f', proowner))) where grantee = 0
            ) as by_everybody
        from pg_proc where pronamespace = 'walhook'::regnamespace";
    let functions = client.query(functions, &[]).await.unwrap();
    assert!(functions.iter().filter(|row| row.get("prosecdef")).count() >= 3);
    for row in &functions {
        let name: &str = row.get("proname");
        assert!(!row.get::<_, bool>("by_everybody"), "{name}");
        if row.get("prosecdef") {
            let pinned: Option<Vec<String>> = row.get("proconfig");
            assert_eq!(pinned.unwrap(), ["search_path=walhook, pg_temp"], "{name}");
        }
    }
}

/// What an attacker with the tenant role and a schema of its own tries on one function.
async fn attack(database: &TestDatabase, function: &str) {
    let role = database.tenant_role();
    let (name, attacker) = (&database.name, format!("attacker_{}", database.name));
    let mut url = database.url.clone();
    url = url.replace("postgres@", &format!("{attacker}@"));
    let client = crate::harness::connect(&url).await;
    // The store's tables and whatever functions its own call, as this one would have them.
    let trap = "create or replace function attack.trap() returns trigger language plpgsql as $$
        begin insert into attack.trapped values (current_user); return null; end $$;";
    client.batch_execute(trap).await.unwrap();
    let made = "do $$
         declare t record; s text;
         begin
             for t in select relname from pg_class
                 where relnamespace = 'walhook'::regnamespace and relkind in ('r', 'p') and not relispartition
             loop
                 foreach s in array array['attack', 'pg_temp'] loop
                     execute format('create table if not exists %I.%I (only_row boolean, generation bigint default 1,
                         commit_lsn pg_lsn, ordinal bigint, updated_at timestamptz, subscription_id uuid,
                         tenant_id text, active boolean, id uuid)', s, t.relname);
                     execute format('create or replace trigger trap after insert or update or delete on %I.%I
                         for each statement execute function attack.trap()', s, t.relname);
                     execute format('insert into %I.%I default values', s, t.relname);
                 end loop;
             end loop;
             delete from attack.trapped;
         end $$;
         create or replace function attack.pg_notify(text, text) returns void language plpgsql as $$
             begin insert into attack.trapped values (current_user); end $$;
         create or replace function attack.pg_notify(text, name) returns void language plpgsql as $$
             begin insert into attack.trapped values (current_user); end $$;
         create or replace function attack.current_schema() returns name language plpgsql as $$
             begin insert into attack.trapped values (current_user); return 'attack'; end $$;
         set search_path = attack, walhook";
    client.batch_execute(made).await.unwrap();
    // Called, and attached to tables of its own.
    for sql in [
        format!("select walhook.{function}()"),
        format!(
            "create or replace trigger stolen after insert on attack.webhook_subscriptions
                 for each row execute function walhook.{function}();
             insert into attack.webhook_subscriptions (active) values (true)"
        ),
        format!(
            "create or replace trigger stolen before update on pg_temp.webhook_subscriptions
                 for each row execute function walhook.{function}();
             update pg_temp.webhook_subscriptions set active = false"
        ),
    ] {
        let done = client.batch_execute(&sql).await;
        let error = done.expect_err(&sql);
        let code = error.code().unwrap().code();
        assert_eq!(code, "42501", "{sql}: {error:?}");
    }
    // Fired by what the role may do with the store's own tables.
    let id = Uuid::now_v7();
    let fired = format!(
        "set role {role};
         set walhook.tenant = 'acme';
         insert into walhook.webhook_subscriptions (id, tenant_id, url, events, secret, secret_hint, from_lsn)
             values ('{id}', 'acme', 'https://example.com', '{{*}}', '\\x00', 'x', '0/0');
         update walhook.webhook_subscriptions
             set active = false, disabled_at = now(), disabled_reason = 'x' where id = '{id}';
         delete from walhook.webhook_subscriptions where id = '{id}';
         reset role"
    );
    client.batch_execute(&fired).await.unwrap();
    // What runs with the session's own rights may find what it likes.
    let trapped = "select string_agg(who, ' ') from attack.trapped where who not in ($1, $2)";
    let row = database
        .client
        .query_one(trapped, &[&attacker, &role])
        .await
        .unwrap();
    assert_eq!(
        row.get::<_, Option<String>>(0),
        None,
        "{function} in {name}"
    );
    let remembered =
        "select count(*) from walhook.deleted_subscriptions where subscription_id = $1";
    let row = database.client.query_one(remembered, &[&id]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 1, "{function}");
}

#[tokio::test]
async fn holder_of_the_tenant_role_cannot_run_code_as_the_store() {
    let database = TestDatabase::create().await;
    drop(database.store().await);
    let (attacker, role) = (
        format!("attacker_{}", database.name),
        database.tenant_role(),
    );
    let made = format!(
        "create role {attacker} login; grant {role} to {attacker}; grant usage on schema walhook to {attacker};
         create schema attack authorization {attacker};
         create table attack.trapped (who text); grant all on attack.trapped to public;
         grant usage on schema attack to public;
         grant temporary on database {} to {attacker}",
        database.name
    );
    database.client.batch_execute(&made).await.unwrap();
    let definers = "select proname::text from pg_proc
        where pronamespace = 'walhook'::regnamespace and prosecdef";
    let definers = database.client.query(definers, &[]).await.unwrap();
    assert!(definers.len() >= 3);
    for row in definers {
        attack(&database, row.get(0)).await;
    }
}

#[tokio::test]
async fn store_works_in_a_schema_of_any_name() {
    let database = TestDatabase::create().await;
    let store = store_in(&database, ODD_SCHEMA).await;
    store.check_schema().await.unwrap();
    assert!(!store.create_schema().await.unwrap());
    let schema = quote_identifier(ODD_SCHEMA);
    let (client, mut heard) = store.connect_listening().await.unwrap();
    client
        .batch_execute("listen walhook_subscriptions")
        .await
        .unwrap();
    let progress = "insert into replication_progress
            (slot, system_identifier, timeline, commit_lsn, ordinal, complete, acknowledged_lsn)
        values ('s', '1', 1, '0/7', 3, true, '0/7')";
    let mut tenants = store.get().await.unwrap();
    tenants.batch_execute(progress).await.unwrap();
    let transaction = tenant_transaction(&mut tenants, "acme").await.unwrap();
    let id = Uuid::now_v7();
    transaction
        .batch_execute(&format!(
            "insert into webhook_subscriptions (id, tenant_id, url, events, secret, secret_hint, from_lsn)
                 values ('{id}', 'acme', 'https://example.com', '{{*}}', '\\x00', 'x', '0/0');
             update webhook_subscriptions set active = false, disabled_at = now(), disabled_reason = 'x'"
        ))
        .await
        .unwrap();
    let noted = "select disabled_after_ordinal from webhook_subscriptions";
    let row = transaction.query_one(noted, &[]).await.unwrap();
    assert_eq!(row.get::<_, Option<i64>>(0), Some(3));
    transaction
        .batch_execute("delete from webhook_subscriptions")
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    let notification = heard.recv().await.unwrap();
    assert_eq!(notification.payload(), ODD_SCHEMA);
    let left = format!(
        "select (select generation from {schema}.subscription_generation),
            (select count(*) from {schema}.deleted_subscriptions)"
    );
    let row = database.client.query_one(&left, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (4, 1));
}
