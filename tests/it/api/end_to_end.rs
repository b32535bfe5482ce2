//! What the API queues really leaves: walhook captures and sends beside it.

use std::sync::Arc;

use serde_json::{Value, json};
use standardwebhooks::Webhook;
use walhook::app::Roles;
use walhook::secret::EncryptionKey;

use super::fixtures::{Api, id};
use crate::harness::receiver::{Receiver, Request};
use crate::harness::walhook::Installation;
use crate::harness::{TestDatabase, connect};

fn verify(secret: &str, request: &Request) -> bool {
    let webhook = Webhook::new(secret).unwrap();
    webhook.verify(&request.body, &request.headers).is_ok()
}

#[tokio::test]
async fn what_the_api_queues_is_signed_and_sent() {
    let installation = Installation::of_orders().await;
    let key = EncryptionKey::load(installation.directory.path().join("walhook.key")).unwrap();
    let security = installation.config().security;
    let database = TestDatabase {
        name: installation.database.name.clone(),
        url: installation.database.url.clone(),
        client: connect(&installation.database.url).await,
    };
    let api = Api::over(database, installation.store.clone(), |state| {
        state.key = Arc::new(key);
        state.security = security;
        state.event_types = vec!["order.created".to_owned(), "order.paid".to_owned()].into();
    })
    .await;
    let roles: Roles = "capture,deliver".parse().unwrap();
    let running = installation.start_with(roles);
    let receiver = Receiver::start().await;
    let token = api.token("acme").await;
    let body = json!({"url": receiver.url("/hook"), "event": "order.*"});
    let created = api.post("/subscriptions", &token, body).await.expect(201);
    let old = created["secret"].as_str().unwrap();
    let path = format!("/subscriptions/{}", id(&created));
    let insert = "insert into orders (tenant_id, status) values ('acme', 'new')";
    let insert = || api.database.client.batch_execute(insert);

    insert().await.unwrap();
    let first = receiver.wait_for(1).await.remove(0);
    assert!(verify(old, &first));
    installation
        .wait_for("select count(*) = 1 from webhook_deliveries where status = 'delivered'")
        .await;
    let listed = api.get("/deliveries?status=delivered", &token).await.json;
    let delivery = &listed["data"][0];
    assert_eq!(delivery["event_id"], first.id());

    let test = api.post(&format!("{path}/test"), &token, json!({})).await;
    test.expect(202);
    let ping = receiver.wait_for(2).await.remove(1);
    assert!(verify(old, &ping));
    assert_eq!(ping.json()["type"], "ping");

    let retry = format!("/deliveries/{}/retry", id(delivery));
    api.post(&retry, &token, json!({})).await.expect(202);
    let again = receiver.wait_for(3).await.remove(2);
    assert_eq!((again.id(), &again.body), (first.id(), &first.body));

    let rotate = format!("{path}/rotate-secret");
    let rotated = api.post(&rotate, &token, json!({})).await.expect(200);
    let new = rotated["secret"].as_str().unwrap();
    api.patch(&path, &token, json!({"active": false}))
        .await
        .expect(200);
    insert().await.unwrap();
    installation
        .wait_for("select count(*) = 2 from webhook_events where event_type = 'order.created'")
        .await;
    let enable = format!("{path}/enable");
    let enabled = api.post(&enable, &token, json!({})).await.expect(200);
    let offer: &Value = &enabled["replay"];
    let wanted = json!({"since": offer["since"], "until": offer["until"]});
    let replayed = api
        .post(&format!("{path}/replay"), &token, wanted)
        .await
        .expect(202);
    assert_eq!(replayed["done"], 1);
    let missed = receiver.wait_for(4).await.remove(3);
    assert_ne!(missed.id(), first.id());
    assert!(
        verify(new, &missed) && verify(old, &missed),
        "both sign for a day"
    );
    installation
        .wait_for("select not exists (select from delivery_schedule)")
        .await;
    assert_eq!(api.delete(&path, &token).await.status, 204);
    assert_eq!(receiver.requests().len(), 4);
    running.stop().await;
}
