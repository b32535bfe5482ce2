//! Secrets and signing keys: what is refused, what the answers say of them.

use serde_json::{Value, json};

use super::fixtures::{Answer, Api, id};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Private key and public key of RFC 8032, test 1.
const PRIVATE: &str = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
const PUBLIC: &str = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

async fn create(api: &Api, token: &str, field: &str, value: &str) -> Answer {
    let mut body = json!({"url": "https://example.com/hook", "event": "*"});
    body[field] = value.into();
    api.post("/subscriptions", token, body).await
}

#[tokio::test]
async fn a_secret_that_was_pasted_wrongly_is_refused_with_the_reason() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let path = format!("/subscriptions/{}", id(&api.subscribe(&token).await));
    let bare = &SECRET["whsec_".len()..];
    for (secret, reason) in [
        ("short".to_owned(), "5 characters"),
        ("whsec_AAAA".to_owned(), "3 bytes"),
        (format!("whsec_{}", &bare[1..]), "not base64"),
        (format!("{SECRET} "), "blank"),
        (format!("\n{SECRET}"), "line end"),
        (format!("\"{SECRET}\""), "quotation mark"),
        (format!("'{bare}'"), "quotation mark"),
        (format!("v1,{SECRET}"), "`v1,`"),
        (SECRET.replace("whsec_", "WHSEC_"), "capital"),
        (PRIVATE.replace("whsk_", "WHSK_"), "capital"),
        (PRIVATE.to_owned(), "`signing_key`"),
        (PUBLIC.to_owned(), "public key"),
        (format!("{bare}+/=="), "`whsec_` before it"),
        (format!("{SECRET}\u{200b}"), "zero-width"),
        ("a pass phrase of caf\u{e9}".to_owned(), "accented"),
        (format!("WEBHOOK_SECRET={SECRET}"), "further on"),
        (token.clone(), "token"),
    ] {
        let created = create(&api, &token, "secret", &secret).await;
        let rotate = format!("{path}/rotate-secret");
        let rotated = api.post(&rotate, &token, json!({"secret": secret})).await;
        for answer in [created, rotated] {
            answer.refused(400, "invalid_secret");
            let detail = answer.json["detail"].as_str().unwrap();
            assert!(detail.contains(reason), "{secret:?}: {detail}");
            assert!(
                !detail.contains(bare) && !detail.contains(&secret),
                "{detail}"
            );
        }
    }
    for (key, reason) in [
        (SECRET.to_owned(), "`secret`"),
        (PUBLIC.to_owned(), "cannot sign"),
        (PRIVATE.replace("whsk_", "Whsk_"), "capital"),
        (format!("{PRIVATE}\r\n"), "line end"),
        (format!("'{PRIVATE}'"), "quotation mark"),
        (format!("v1a,{PRIVATE}"), "`v1a,`"),
        (PRIVATE["whsk_".len()..].to_owned(), "begin with `whsk_`"),
    ] {
        let answer = create(&api, &token, "signing_key", &key).await;
        answer.refused(400, "invalid_signing_key");
        let detail = answer.json["detail"].as_str().unwrap();
        assert!(detail.contains(reason), "{key:?}: {detail}");
        assert!(!detail.contains(&PRIVATE[5..]), "{detail}");
    }
    assert_eq!(
        api.count("select count(*) from webhook_subscriptions")
            .await,
        1
    );
}

#[tokio::test]
async fn the_answer_says_what_of_a_secret_is_the_key() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    for (secret, key) in [
        (SECRET, "base64"),
        ("webhook-secret-key", "text"),
        ("d41d8cd98f00b204e9800998ecf8427e", "text"),
        ("correct horse battery", "text"),
    ] {
        let created = create(&api, &token, "secret", secret).await.expect(201);
        assert_eq!(
            (&created["secret"], &created["key"]),
            (&json!(secret), &json!(key))
        );
        let path = format!("/subscriptions/{}", id(&created));
        let read = api.get(&path, &token).await.expect(200);
        assert_eq!(read.get("key"), None);
        let rotate = format!("{path}/rotate-secret");
        let rotated = api.post(&rotate, &token, json!({})).await.expect(200);
        assert_eq!(rotated["key"], "base64");
    }
}

#[tokio::test]
async fn a_signing_key_is_added_rotated_replaced_and_removed() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let path = format!("/subscriptions/{}", id(&subscription));
    let rotate = format!("{path}/rotate-signing-key");
    let patch = async |value: Value| {
        let body = json!({"signing_key": value});
        api.patch(&path, &token, body).await.expect(200)
    };
    let generated = |answer: &Value| answer["signing_key"].as_str().unwrap().starts_with("whsk_");
    assert_eq!(subscription["public_key"], json!(null));
    api.post(&rotate, &token, json!({}))
        .await
        .refused(409, "no_signing_key");

    let added = patch(json!(PRIVATE)).await;
    assert_eq!(added["public_key"], PUBLIC);
    assert_eq!(added.get("signing_key"), None, "the caller has it");
    let kept = api.patch(&path, &token, json!({"description": "b"})).await;
    assert_eq!(kept.expect(200)["public_key"], PUBLIC);

    let rotated = api.post(&rotate, &token, json!({})).await.expect(200);
    assert!(generated(&rotated) && rotated["public_key"] != PUBLIC);
    assert!(rotated["previous_signing_key_expires_at"].is_string());
    let body = json!({"signing_key": PRIVATE});
    let rotated = api.post(&rotate, &token, body).await.expect(200);
    assert_eq!(rotated["public_key"], PUBLIC);
    assert_eq!(rotated.get("signing_key"), None);

    let replaced = patch(json!("generate")).await;
    assert!(generated(&replaced) && replaced["public_key"] != PUBLIC);
    assert_eq!(replaced.get("previous_signing_key_expires_at"), None);
    let read = api.get(&path, &token).await.expect(200);
    assert_eq!(read["public_key"], replaced["public_key"]);
    assert_eq!(read.get("signing_key"), None);

    let removed = patch(json!(null)).await;
    assert_eq!(removed["public_key"], json!(null));
    assert_eq!(removed["secret_hint"], read["secret_hint"]);
}

#[tokio::test]
async fn ten_rotations_overlap_and_the_next_waits_for_the_first_to_expire() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let created = create(&api, &token, "signing_key", "generate")
        .await
        .expect(201);
    let path = format!("/subscriptions/{}", id(&created));
    for call in ["rotate-secret", "rotate-signing-key"] {
        let rotate = format!("{path}/{call}");
        for _ in 0..10 {
            api.post(&rotate, &token, json!({})).await.expect(200);
        }
        let refused = api.post(&rotate, &token, json!({})).await;
        refused.refused(409, "too_many_rotations");
    }
    api.execute(
        "update webhook_subscriptions
         set previous_secrets_expire_at[1] = now(), previous_signing_keys_expire_at[1] = now()",
    )
    .await;
    for call in ["rotate-secret", "rotate-signing-key"] {
        let rotate = format!("{path}/{call}");
        api.post(&rotate, &token, json!({})).await.expect(200);
    }
    let kept = "select (cardinality(previous_secrets) + cardinality(previous_signing_keys))::bigint
         from webhook_subscriptions";
    assert_eq!(api.count(kept).await, 20);
}
