//! The settings that a subscription had at each time.

use serde_json::{Value, json};

use super::fixtures::{Api, id};

async fn history(api: &Api, token: &str, subscription: &Value) -> Vec<Value> {
    let path = format!("/subscriptions/{}/history", id(subscription));
    let page = api.get(&path, token).await.expect(200);
    page["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn each_change_of_the_settings_is_a_version_with_who_made_it() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    assert_eq!(subscription["version"], 1);
    let path = format!("/subscriptions/{}", id(&subscription));
    for (change, version) in [
        (json!({"url": "https://example.com/two"}), 2),
        // Not a setting that deliveries depend on, and not a change.
        (
            json!({"description": "ours", "url": "https://example.com/two"}),
            2,
        ),
        (
            json!({"headers": {"x-key": "one"}, "filter": "data.a > 1"}),
            3,
        ),
        (json!({"headers": {"x-key": "two"}}), 4),
        (json!({"batch": {"max_events": 5}}), 5),
        (json!({"active": false}), 5),
    ] {
        let changed = api.patch(&path, &token, change).await.expect(200);
        assert_eq!(changed["version"], version);
    }
    api.post(&format!("{path}/rotate-secret"), &token, json!({}))
        .await
        .expect(200);

    let versions = history(&api, &token, &subscription).await;
    let seen: Vec<_> = versions
        .iter()
        .map(|one| (one["version"].as_i64().unwrap(), one["changed"].to_string()))
        .collect();
    let expected = [
        (5, r#"["batch"]"#),
        (4, r#"["headers"]"#),
        (3, r#"["filter","headers"]"#),
        (2, r#"["url"]"#),
        (1, "[]"),
    ];
    assert_eq!(
        seen,
        expected.map(|(number, changed)| (number, changed.to_owned()))
    );
    for version in &versions {
        assert_eq!(version["changed_by"]["kind"], "token");
        assert_eq!(version["changed_by"]["actor"], "test");
    }
    assert_eq!(versions[4]["settings"]["url"], "https://example.com/hook");
    assert_eq!(versions[0]["settings"]["url"], "https://example.com/two");
    assert_eq!(versions[0]["settings"]["batch"]["max_events"], 5);
    assert_eq!(versions[1]["settings"]["headers"], json!({"x-key": "…"}));

    // Page by page, each still compared with the one before it.
    let list = format!("{path}/history?limit=2");
    let first = api.get(&list, &token).await.expect(200);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = api
        .get(&format!("{list}&cursor={cursor}"), &token)
        .await
        .expect(200);
    assert_eq!(first["data"][1]["changed"], json!(["headers"]));
    assert_eq!(second["data"][0]["version"], 3);
    assert_eq!(second["data"][0]["changed"], json!(["filter", "headers"]));
}

#[tokio::test]
async fn a_deleted_subscriptions_history_is_kept_with_its_deliveries_and_never_shown_to_others() {
    let api = Api::start().await;
    let (acme, globex) = (api.token("acme").await, api.token("globex").await);
    let subscription = api.subscribe(&acme).await;
    api.delivery_of_now(&subscription, "delivered").await;
    let path = format!("/subscriptions/{}", id(&subscription));
    assert_eq!(
        api.get(&format!("{path}/history"), &globex).await.status,
        404
    );
    api.delete(&path, &acme).await;
    assert_eq!(history(&api, &acme, &subscription).await.len(), 1);
    // A day after its last delivery is gone.
    api.execute(
        "delete from webhook_deliveries;
         update deleted_subscriptions set deleted_at = now() - interval '2 days'",
    )
    .await;
    let config = walhook::db::StoreConfig::default();
    walhook::delivery::pruner::prune(&api.store, &config, jiff::Timestamp::now())
        .await
        .unwrap();
    assert_eq!(api.get(&format!("{path}/history"), &acme).await.status, 404);
    assert_eq!(
        api.count("select count(*) from subscription_versions")
            .await,
        0
    );
}
