//! One subscription that cannot be read waits; the others do not notice.

use ::walhook::secret::EncryptionKey;
use ::walhook::subscription::headers;
use ::walhook::subscription::queries::SubscriptionId;

use super::{Subscriptions, order, project, set};
use crate::harness::operated::Operated;
use crate::harness::receiver::Receiver;
use crate::harness::walhook::{Installation, Subscribed};

/// What is wrong with each, as SQL sets it, and what its reason says.
const FAULTS: [(&str, &str, &str); 6] = [
    ("/secret", "secret = '\\x0102'", "secret"),
    ("/foreign", "secret = $2", "secret"),
    ("/headers", "headers = '\\x02'", "headers"),
    ("/url", "url = 'no url'", "URL"),
    ("/filter", "filter = 'data.id ='", "filter"),
    // The API makes no such row.
    ("/events", "events = array['*', null]", "null"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_cannot_be_read_waits_alone_and_goes_on_when_it_is_fixed() {
    let installation = Installation::of_orders().await;
    let receiver = Receiver::start().await;
    installation
        .subscribe("acme", &receiver.url("/good"), &["*"])
        .await;
    let foreign = EncryptionKey::generate();
    let mut broken: Vec<Subscribed> = Vec::new();
    for (path, fault, _) in FAULTS {
        let subscribed = installation
            .subscribe("acme", &receiver.url(path), &["*"])
            .await;
        if path == "/foreign" {
            let sealed = foreign.encrypt(subscribed.secret.as_bytes(), subscribed.id.as_bytes());
            let client = installation.store.get().await.unwrap();
            client
                .execute(
                    "update webhook_subscriptions set secret = $2 where id = $1",
                    &[&subscribed.id, &sealed],
                )
                .await
                .unwrap();
        } else {
            set(&installation, subscribed.id, fault).await;
        }
        broken.push(subscribed);
    }

    let walhook = Operated::start(installation);
    let installation = &walhook.installation;
    walhook.wait_ready(200, &["ready"]).await;
    order(installation).await;
    receiver.wait_for_of("/good", 1).await;
    // Each waits, whole: not attempted, not failed.
    installation
        .wait_for("(select count(*) from delivery_schedule where status = 'pending' and lease_owner is null) = 6")
        .await;
    walhook
        .wait_metric("walhook_subscriptions_unreadable ", |count| count == 6.0)
        .await;
    let status = walhook.walhook(&["status"]).await.exits(1);
    for (subscribed, (path, _, says)) in broken.iter().zip(FAULTS) {
        let id = SubscriptionId(subscribed.id).to_string();
        let line = status
            .out
            .lines()
            .find(|line| line.contains("unreadable") && line.contains(&id));
        let line = line.unwrap_or_else(|| panic!("{path}: {}", status.out));
        assert!(line.contains(says), "{path}: {line}");
    }
    let log = walhook.log();
    assert_eq!(
        log.matches("a subscription cannot be read").count(),
        6,
        "{log}"
    );
    shows_reasons(&walhook, &broken).await;

    // A second event, and each is fixed in its own way.
    order(installation).await;
    receiver.wait_for_of("/good", 2).await;
    for (subscribed, (path, ..)) in broken.iter().zip(FAULTS) {
        let context = subscribed.id.as_bytes();
        let sealed = installation
            .key
            .encrypt(subscribed.secret.as_bytes(), context);
        let client = installation.store.get().await.unwrap();
        let sql = "update webhook_subscriptions
            set secret = $2, headers = null, url = $3, filter = null, events = '{*}' where id = $1";
        client
            .execute(sql, &[&subscribed.id, &sealed, &receiver.url(path)])
            .await
            .unwrap();
        for request in &receiver.wait_for_of(path, 2).await {
            subscribed.verify(request);
        }
    }
    installation
        .wait_for(
            "not exists (select from webhook_subscriptions where unreadable_reason is not null)",
        )
        .await;
    assert_eq!(receiver.requests().len(), 14);
    assert!(walhook.process.terminate().success());
}

/// The tenant's list shows all of them, and why.
async fn shows_reasons(walhook: &Operated, broken: &[Subscribed]) {
    let project = project(&walhook.installation, "");
    let subscriptions = Subscriptions::at(&project, &walhook.process).await;
    let listed = subscriptions.list().await;
    assert_eq!(listed.len(), broken.len() + 1);
    let unreadable = listed.iter().filter(|one| one["unreadable"].is_string());
    assert_eq!(unreadable.count(), broken.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_becomes_unreadable_while_it_is_sent_to_waits_from_then_on() {
    let installation = Installation::of_orders().await;
    let receiver = Receiver::start().await;
    let subscribed = installation
        .subscribe("acme", &receiver.url("/"), &["*"])
        .await;
    let running = installation.start();
    order(&installation).await;
    receiver.wait_for(1).await;
    let key = &installation.key;
    let sealed = key.encrypt(b"{", &headers::context(SubscriptionId(subscribed.id)));
    let client = installation.store.get().await.unwrap();
    client
        .execute(
            "update webhook_subscriptions set headers = $2 where id = $1",
            &[&subscribed.id, &sealed],
        )
        .await
        .unwrap();
    installation
        .wait_for("exists (select from webhook_subscriptions where unreadable_reason is not null)")
        .await;
    order(&installation).await;
    installation
        .wait_for("exists (select from delivery_schedule where status = 'pending' and lease_owner is null)")
        .await;
    set(&installation, subscribed.id, "headers = null").await;
    receiver.wait_for(2).await;
    running.stop().await;
}
