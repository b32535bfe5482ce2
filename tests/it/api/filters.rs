//! Filters on real events before they are saved.

use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use walhook::event::EventId;

use super::fixtures::Api;

/// An event with this `data`, so many minutes old.
async fn event(api: &Api, tenant: &str, event_type: &str, data: &str, minutes: i64) -> EventId {
    let at = Timestamp::now() - minutes.minutes();
    let id = api.event(tenant, event_type, at).await;
    let body = format!(r#"{{"id":"{id}","type":"{event_type}","data":{data}}}"#);
    let client = api.store.get().await.unwrap();
    let update = "update webhook_events set body = $2 where id = $1";
    client
        .execute(update, &[&id.0, &body.as_bytes()])
        .await
        .unwrap();
    id
}

#[tokio::test]
async fn a_filter_is_tested_on_the_newest_events_and_names_the_clause_that_refused() {
    let api = Api::start().await;
    let acme = api.token("acme").await;
    let small = event(
        &api,
        "acme",
        "payment.received",
        r#"{"amount":42.10,"cur":"EUR"}"#,
        3,
    )
    .await;
    let large = event(
        &api,
        "acme",
        "payment.received",
        r#"{"amount":420,"cur":"EUR"}"#,
        2,
    )
    .await;
    let text = event(
        &api,
        "acme",
        "payment.failed",
        r#"{"amount":"much","cur":"EUR"}"#,
        1,
    )
    .await;
    event(
        &api,
        "acme",
        "customer.created",
        r#"{"amount":1000,"cur":"EUR"}"#,
        0,
    )
    .await;
    event(
        &api,
        "globex",
        "payment.received",
        r#"{"amount":7,"cur":"EUR"}"#,
        0,
    )
    .await;

    let filter = "data.cur = 'EUR' and (data.amount)::numeric > 100";
    let body = json!({"filter": filter, "events": ["payment.*"]});
    let tested = api.post("/filters/test", &acme, body).await.expect(200);
    assert_eq!(
        (&tested["tested"], &tested["matching"], &tested["complete"]),
        (&json!(3), &json!(1), &json!(true))
    );
    let row = |number: usize| &tested["data"][number];
    assert_eq!(
        (&row(0)["id"], &row(0)["verdict"]),
        (&json!(text.to_string()), &json!("failed"))
    );
    assert!(
        row(0)["error"]
            .as_str()
            .unwrap()
            .contains("a number is expected"),
        "{}",
        row(0)
    );
    assert_eq!(
        (&row(1)["id"], &row(1)["verdict"]),
        (&json!(large.to_string()), &json!("sent"))
    );
    assert_eq!(row(1).get("clause"), None::<&Value>);
    assert_eq!(
        (&row(2)["id"], &row(2)["verdict"]),
        (&json!(small.to_string()), &json!("refused"))
    );
    assert_eq!(row(2)["clause"], "(data.amount)::numeric > 100");
    assert_eq!(
        row(2)["values"],
        json!([{"name": "data.amount", "value": 42.10}])
    );

    let body = json!({"filter": "data.amount < 50", "event_ids": [small.to_string()]});
    let tested = api.post("/filters/test", &acme, body).await.expect(200);
    assert_eq!(
        (&tested["tested"], &tested["matching"]),
        (&json!(1), &json!(1))
    );
    let body = json!({"filter": "true", "last": 2});
    let tested = api.post("/filters/test", &acme, body).await.expect(200);
    assert_eq!(
        (&tested["tested"], &tested["matching"]),
        (&json!(2), &json!(2))
    );
}

#[tokio::test]
async fn what_is_no_filter_or_no_event_of_the_tenant_is_refused() {
    let api = Api::start().await;
    let acme = api.token("acme").await;
    let foreign = event(&api, "globex", "payment.received", "{}", 0).await;
    for (body, status, code) in [
        (json!({"filter": "amount > 5"}), 400, "invalid_filter"),
        (json!({"filter": "x".repeat(2000)}), 400, "invalid_filter"),
        (json!({"filter": "true", "last": 0}), 400, "invalid_limit"),
        (json!({"filter": "true", "last": 51}), 400, "invalid_limit"),
        (
            json!({"filter": "true", "event_ids": vec!["x"; 51]}),
            400,
            "invalid_limit",
        ),
        (
            json!({"filter": "true", "event_ids": ["x"]}),
            400,
            "invalid_id",
        ),
        (
            json!({"filter": "true", "events": ["paymnt.*"]}),
            400,
            "invalid_events",
        ),
        (
            json!({"filter": "true", "event_ids": [foreign.to_string()]}),
            404,
            "not_found",
        ),
        (json!({"filter": "true", "fields": 1}), 422, "invalid_body"),
        (json!({}), 422, "invalid_body"),
    ] {
        api.post("/filters/test", &acme, body)
            .await
            .refused(status, code);
    }
    let tested = api
        .post("/filters/test", &acme, json!({"filter": "true"}))
        .await;
    assert_eq!(tested.expect(200)["tested"], 0);
}
