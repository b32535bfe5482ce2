//! The store's schema: applied once, and row-level security.

use crate::harness::TestDatabase;

#[tokio::test]
async fn the_schema_is_applied_once_by_several_at_the_same_time() {
    let database = TestDatabase::create().await;
    let one = database.store().await;
    let (two, three) = tokio::join!(database.store(), database.store());
    for store in [one, two, three] {
        store.check_schema().await.unwrap();
        assert!(!store.create_schema().await.unwrap());
    }
}

#[tokio::test]
async fn a_tenant_sees_only_its_own_rows_and_without_a_tenant_none() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let mut client = store.get().await.unwrap();
    client
        .batch_execute(
            "insert into webhook_subscriptions (id, tenant_id, url, events, secret, secret_hint, from_lsn)
             select gen_random_uuid(), tenant, 'https://example.com', '{*}', '\\x00', 'x', '0/0'
             from unnest('{a,b,b}'::text[]) tenant",
        )
        .await
        .unwrap();
    for (tenant, rows) in [("a", 1), ("b", 2), ("c", 0), ("", 0)] {
        let transaction = client.transaction().await.unwrap();
        transaction
            .batch_execute(&format!("set local role {}", database.tenant_role()))
            .await
            .unwrap();
        transaction
            .execute("select set_config('walhook.tenant', $1, true)", &[&tenant])
            .await
            .unwrap();
        let count: i64 = transaction
            .query_one("select count(*) from webhook_subscriptions", &[])
            .await
            .unwrap()
            .get(0);
        assert_eq!(count, rows, "tenant `{tenant}`");
        let stolen = transaction
            .execute("update webhook_subscriptions set tenant_id = 'thief'", &[])
            .await;
        assert!(rows == 0 || stolen.is_err());
    }
}

#[tokio::test]
async fn commits_reach_the_disk_also_where_the_servers_default_is_otherwise() {
    let database = TestDatabase::create().await;
    for (default, expected) in [
        ("off", "on"),
        ("on", "on"),
        ("remote_apply", "remote_apply"),
    ] {
        let set = format!(
            "alter database {} set synchronous_commit = {default}",
            database.name
        );
        database.client.batch_execute(&set).await.unwrap();
        let store = database.store().await;
        let row = store.get().await.unwrap();
        let row = row.query_one("show synchronous_commit", &[]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), expected, "default {default}");
    }
}
