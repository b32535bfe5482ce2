//! Secrets and signing keys: what receivers verify, also while a rotation overlaps.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::{Value, json};

use super::{Deployed, text, verifies};
use crate::harness::receiver::{Receiver, Request, status};

/// Verifies a request as a receiver does that knows the public key alone.
fn verifies_asymmetrically(public_key: &Value, request: &Request) -> bool {
    let key = text(public_key).strip_prefix("whpk_").unwrap();
    let key: [u8; 32] = STANDARD.decode(key).unwrap().try_into().unwrap();
    let key = VerifyingKey::from_bytes(&key).unwrap();
    let head = format!("{}.{}.", request.id(), request.header("webhook-timestamp"));
    let message = [head.as_bytes(), &request.body].concat();
    let signatures = request.header("webhook-signature").split(' ');
    let mut signatures = signatures.filter_map(|signature| signature.strip_prefix("v1a,"));
    signatures.any(|signature| {
        let signature = STANDARD.decode(signature).unwrap();
        let signature = Signature::from_slice(&signature).unwrap();
        key.verify_strict(&message, &signature).is_ok()
    })
}

/// How many `v1` and `v1a` signatures there are; `v1` come first.
fn counts(request: &Request) -> (usize, usize) {
    let versions = request.header("webhook-signature").split(' ');
    let versions: Vec<_> = versions.map(|one| one.split_once(',').unwrap().0).collect();
    assert!(versions.is_sorted(), "{versions:?}");
    let of = |version| versions.iter().filter(|one| **one == version).count();
    assert_eq!(of("v1") + of("v1a"), versions.len());
    (of("v1"), of("v1a"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signing_key_signs_whatever_is_sent_beside_the_secret() {
    let deployed = Deployed::start("[delivery]\nretry_schedule = ['1s', '1s']\n").await;
    let refused_once = |path: &str, number| {
        status(if path == "/plain" && number == 1 {
            500
        } else {
            200
        })
    };
    let receiver = Receiver::answering(refused_once).await;
    let acme = deployed.tenant("acme").await;
    // Private and public key of RFC 8032, test 1.
    let given = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2DXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGg==";
    let settings = [
        ("/plain", json!({"signing_key": "generate"})),
        (
            "/ce",
            json!({"signing_key": "generate", "format": "cloudevents"}),
        ),
        (
            "/batch",
            json!({"signing_key": given, "batch": {"max_events": 2, "max_wait": "60s"}}),
        ),
        ("/secret", json!({})),
    ];
    let mut subscriptions = Vec::new();
    for (path, settings) in settings {
        let subscription = acme.subscribe_with(&receiver.url(path), settings).await;
        subscriptions.push((path, subscription));
    }
    let public_key = |of: usize| &subscriptions[of].1["public_key"];
    assert_eq!(
        public_key(2),
        "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
    );
    assert_eq!(public_key(3), &json!(null));
    deployed.orders("acme", 2).await;
    receiver.wait_for(8).await;
    let plain = format!("/subscriptions/{}", text(&subscriptions[0].1["id"]));
    acme.post(&format!("{plain}/test"), json!({}))
        .await
        .expect(202);
    receiver.wait_for(9).await;
    let since = json!({"since": "2026-01-01T00:00:00Z"});
    let replayed = acme
        .post(&format!("{plain}/replay"), since)
        .await
        .expect(202);
    assert_eq!(replayed["done"], 2);
    receiver.wait_for(11).await;

    for ((path, subscription), requests) in subscriptions.iter().zip([6, 2, 1, 2]) {
        let received = receiver.of(path);
        assert_eq!(received.len(), requests, "{path}");
        for request in &received {
            assert!(verifies(&subscription["secret"], request), "{path}");
            if path == &"/secret" {
                assert_eq!(counts(request), (1, 0));
                continue;
            }
            assert_eq!(counts(request), (1, 1), "{path}");
            for (other, of) in &subscriptions[..3] {
                let verified = verifies_asymmetrically(&of["public_key"], request);
                assert_eq!(verified, other == path, "{path} by the key of {other}");
            }
        }
    }
    let attempts = receiver.of("/plain");
    let refused = &attempts[0];
    let again = attempts[1..]
        .iter()
        .find(|one| one.id() == refused.id())
        .unwrap();
    assert_eq!(again.body, refused.body);
    assert_ne!(
        again.header("webhook-signature"),
        refused.header("webhook-signature"),
        "each attempt has a signature of its own"
    );
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_rotated_signs_beside_the_new_until_it_expires() {
    let deployed = Deployed::start("").await;
    let receiver = Receiver::start().await;
    let acme = deployed.tenant("acme").await;
    let wanted = json!({"signing_key": "generate"});
    let created = acme.subscribe_with(&receiver.url("/"), wanted).await;
    let path = format!("/subscriptions/{}", text(&created["id"]));
    let (mut secrets, mut public_keys) = (vec![], vec![]);
    secrets.push(created["secret"].clone());
    public_keys.push(created["public_key"].clone());
    for _ in 0..2 {
        let rotate = format!("{path}/rotate-secret");
        let rotated = acme.post(&rotate, json!({})).await.expect(200);
        secrets.push(rotated["secret"].clone());
        let rotate = format!("{path}/rotate-signing-key");
        let rotated = acme.post(&rotate, json!({})).await.expect(200);
        public_keys.push(rotated["public_key"].clone());
    }
    let mut requests = 0;
    let mut next = async || {
        deployed.orders("acme", 1).await;
        requests += 1;
        receiver.wait_for(requests).await.remove(requests - 1)
    };
    let all = next().await;
    assert_eq!(counts(&all), (3, 3));
    assert!(secrets.iter().all(|one| verifies(one, &all)));
    assert!(
        public_keys
            .iter()
            .all(|one| verifies_asymmetrically(one, &all))
    );

    // A day after the first rotation, and before a day is over since the second.
    let client = deployed.walhook.store.get().await.unwrap();
    let expire = "update webhook_subscriptions
        set previous_secrets_expire_at = array[now(), now() + interval '1 hour'],
            previous_signing_keys_expire_at = array[now(), now() + interval '1 hour']";
    client.batch_execute(expire).await.unwrap();
    let two = next().await;
    assert_eq!(counts(&two), (2, 2));
    let secrets: Vec<_> = secrets.iter().map(|one| verifies(one, &two)).collect();
    assert_eq!(secrets, [false, true, true]);
    let keys = public_keys.iter();
    let keys: Vec<_> = keys.map(|one| verifies_asymmetrically(one, &two)).collect();
    assert_eq!(keys, [false, true, true]);

    // A change replaces and removes at once.
    let changed = acme.patch(&path, json!({"signing_key": "generate"})).await;
    let one = next().await;
    assert_eq!(counts(&one), (2, 1));
    assert!(verifies_asymmetrically(&changed["public_key"], &one));
    acme.patch(&path, json!({"signing_key": null})).await;
    assert_eq!(counts(&next().await), (2, 0));
    deployed.stop();
}
