//! The OpenAPI document is complete and consistent.

use std::collections::HashSet;

use serde_json::Value;

use super::fixtures::Api;

#[tokio::test]
async fn the_document_describes_every_call() {
    let api = Api::start().await;
    let document = api.root("/openapi.json").await.expect(200);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let prefix = "/api/v1/tenant/webhooks";
    let mut calls = Vec::new();
    let mut ids = HashSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = format!(
                "{} {}",
                method.to_uppercase(),
                path.trim_start_matches(prefix)
            );
            assert!(ids.insert(operation["operationId"].clone()), "{name}");
            assert!(!operation["summary"].as_str().unwrap().is_empty(), "{name}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(
                responses.keys().any(|status| status.starts_with('2')),
                "{name}"
            );
            if path.starts_with(prefix) {
                assert!(operation["security"][0]["bearer"].is_array(), "{name}");
                let unauthorized = &responses["401"]["content"]["application/problem+json"];
                assert!(unauthorized["schema"]["$ref"].is_string(), "{name}");
                assert_eq!(
                    responses.contains_key("404"),
                    path.contains("{id}"),
                    "{name}"
                );
            }
            let named = operation["parameters"].as_array().into_iter().flatten();
            let named: Vec<_> = named
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            assert_eq!(path.contains("{id}"), named.contains(&"id"), "{name}");
            assert_eq!(
                method == "post",
                named.contains(&"Idempotency-Key"),
                "{name}"
            );
            calls.push(name);
        }
    }
    calls.sort();
    let mut expected = [
        "POST /subscriptions",
        "GET /subscriptions",
        "GET /subscriptions/{id}",
        "PATCH /subscriptions/{id}",
        "DELETE /subscriptions/{id}",
        "POST /subscriptions/{id}/rotate-secret",
        "POST /subscriptions/{id}/rotate-signing-key",
        "POST /subscriptions/{id}/test",
        "POST /subscriptions/{id}/enable",
        "POST /subscriptions/{id}/replay",
        "GET /deliveries",
        "GET /deliveries/{id}",
        "POST /deliveries/{id}/retry",
        "POST /deliveries/retry",
        "POST /filters/test",
        "GET /jobs",
        "GET /jobs/{id}",
        "POST /jobs/{id}/pause",
        "POST /jobs/{id}/resume",
        "POST /jobs/{id}/cancel",
        "GET /events",
        "GET /events/{id}",
        "GET /event-types",
        "GET /me",
        "GET /audit",
        "GET /stats",
        "GET /stream",
        "GET /subscriptions/{id}/history",
        "GET /subscriptions/{id}/stats",
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
    ];
    expected.sort_unstable();
    assert_eq!(calls, expected);
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 50);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(
            document.pointer(pointer).is_some(),
            "{reference} leads nowhere"
        );
    }
    for (schema, field) in [
        ("CreateSubscription", "secret"),
        ("CreateSubscription", "signing_key"),
        ("UpdateSubscription", "signing_key"),
        ("RotateSecret", "secret"),
        ("RotateSigningKey", "signing_key"),
    ] {
        let secret = &document["components"]["schemas"][schema]["properties"][field];
        assert_eq!(secret["writeOnly"], true, "{schema}.{field}");
    }
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            references.extend(
                fields
                    .get("$ref")
                    .and_then(Value::as_str)
                    .map(str::to_owned),
            );
            fields.values().for_each(|field| collect(field, references));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}

#[tokio::test]
async fn the_page_is_readable_without_scripts_or_other_hosts() {
    let api = Api::start().await;
    let page = api.root("/docs/api").await;
    assert_eq!(page.status, 200);
    assert!(
        page.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    for text in [
        "rotate-secret",
        "Idempotency-Key",
        "id=\"Problem\"",
        "secret_hint",
    ] {
        assert!(page.text.contains(text), "{text}");
    }
    for foreign in ["<script", "src=", "https://cdn", "@import"] {
        assert!(!page.text.contains(foreign), "{foreign}");
    }
}

#[tokio::test]
async fn the_guide_is_served_and_its_links_lead_somewhere() {
    let api = Api::start().await;
    let mut waiting = vec!["/docs".to_owned()];
    let mut seen = Vec::new();
    while let Some(path) = waiting.pop() {
        let page = api.root(&path).await;
        assert_eq!(page.status, 200, "{path}");
        let links = page.text.split("href=\"").skip(1);
        for link in links.filter_map(|rest| rest.split('"').next()) {
            let target = link.split('#').next().unwrap();
            let known = target.is_empty() || target.starts_with("https://");
            if !known && !seen.contains(&target.to_owned()) {
                seen.push(target.to_owned());
                waiting.push(target.to_owned());
            }
        }
    }
    for path in [
        "/docs/rules",
        "/docs/runbook",
        "/docs/api",
        "/docs/configuration",
        "/openapi.json",
    ] {
        assert!(seen.iter().any(|known| known == path), "{path}: {seen:?}");
    }
    assert_eq!(api.root("/docs/nothing").await.status, 404);
    // The index says of each page what it is about.
    let index = api.root("/docs").await.text;
    for line in [
        ">Sending</a></td><td>Attempts, limits, order, batches</td>",
        ">The API</a></td><td>Every call, for tenants and their programs</td>",
        ">Configuration</a></td><td>Every key of the configuration, with its default</td>",
    ] {
        assert!(index.contains(line), "{line}: {index}");
    }
    let lines = index.matches("</a></td><td>").count();
    assert_eq!(lines, walhook::docs::PAGES.len() + 2);
}
