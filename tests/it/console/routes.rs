//! Every route of the console: without a session, without its capability, from another site,
//! and with ids of another tenant.

use reqwest::Method;
use walhook::console::capability::Capability;
use walhook::console::routes;

use super::browser::Browser;
use crate::api::fixtures::{Api, id};

/// A path of a route, with an id of acme's.
fn path(route: &str, [delivery, event, endpoint, job]: [&str; 4]) -> String {
    let id = match route {
        route if route.contains("/jobs/") => job,
        route if route.contains("/deliveries/") => delivery,
        route if route.contains("/events/") => event,
        _ => endpoint,
    };
    route.replace("{id}", id).replace("{number}", "1")
}

#[tokio::test]
async fn every_route_needs_a_session_its_capability_and_a_form_of_its_own() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let delivery = api
        .delivery_of_now(&subscription, "failed")
        .await
        .to_string();
    let event = api.get("/deliveries", &token).await.json["data"][0]["event_id"].clone();
    let event = event.as_str().unwrap();
    let order = serde_json::json!({"max_per_second": 1});
    let job = api
        .post("/deliveries/retry", &token, order)
        .await
        .expect(202);
    let job = id(&job).to_owned();
    let nobody = Browser::of(&api.base);
    let all = routes();
    assert!(all.len() > 20);
    for capability in Capability::ALL {
        let others = Capability::ALL.into_iter().filter(|one| *one != capability);
        let without = Browser::with(&api, "acme", &others.collect::<Vec<_>>()).await;
        // Whoever may not even view has no page to take a token from.
        let token = match capability {
            Capability::View => String::new(),
            _ => without.token().await,
        };
        for route in all.iter().filter(|route| route.needs == capability) {
            let path = path(route.path, [&delivery, event, id(&subscription), &job]);
            let name = format!("{} {path}", route.method);
            match route.method {
                Method::GET => {
                    assert_eq!(nobody.get(&path).await.status, 401, "{name}");
                    let page = without.get(&path).await;
                    assert_eq!(page.status, 403, "{name}");
                    page.says(&format!("`{capability}`"));
                }
                _ => {
                    assert_eq!(nobody.post_raw(&path, &[]).await.status, 401, "{name}");
                    let other_site = without
                        .request(Method::POST, &path)
                        .header("sec-fetch-site", "cross-site")
                        .header("origin", "https://evil.example")
                        .send()
                        .await
                        .unwrap();
                    assert_eq!(other_site.status(), 403, "{name}");
                    let text = other_site.text().await.unwrap();
                    assert!(text.contains("cross_site"), "{name}: {text}");
                    let page = without.post_raw(&path, &[]).await;
                    assert_eq!(page.status, 403, "{name}");
                    page.says("stale_form");
                    if !token.is_empty() {
                        let page = without.post_raw(&path, &[("token", &token)]).await;
                        assert_eq!(page.status, 403, "{name}");
                        page.says(&format!("`{capability}`"));
                    }
                }
            }
        }
    }
    // Nothing was done.
    assert_eq!(
        api.count("select count(*) from webhook_subscriptions")
            .await,
        1
    );
    assert_eq!(
        api.count("select count(*) from webhook_deliveries").await,
        1
    );
}

#[tokio::test]
async fn another_tenants_ids_are_as_absent_as_unknown_ones() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let delivery = api
        .delivery_of_now(&subscription, "failed")
        .await
        .to_string();
    let event = api.get("/deliveries", &token).await.json["data"][0]["event_id"].clone();
    let event = event.as_str().unwrap();
    let order = serde_json::json!({"max_per_second": 1});
    let job = api
        .post("/deliveries/retry", &token, order)
        .await
        .expect(202);
    let job = id(&job).to_owned();
    api.execute(
        "insert into webhook_attempts (delivery_id, number, tenant_id, started_at, duration_ms)
         select id, 1, tenant_id, now(), 1 from webhook_deliveries",
    )
    .await;
    let stranger = Browser::signed_in(&api, "globex").await;
    let owner = Browser::signed_in(&api, "acme").await;
    for route in routes().iter().filter(|route| route.path.contains("{id}")) {
        let path = path(route.path, [&delivery, event, id(&subscription), &job]);
        let name = format!("{} {path}", route.method);
        match route.method {
            Method::GET => {
                assert_eq!(stranger.get(&path).await.status, 404, "{name}");
                assert_eq!(owner.get(&path).await.status, 200, "{name}");
            }
            _ => {
                let fields = [("endpoint", id(&subscription)), ("host", "example.com")];
                let page = stranger.post(&path, &fields).await;
                assert_eq!(page.status, 404, "{name}: {}", page.text);
            }
        }
    }
    for path in [
        "/console/deliveries",
        "/console/events",
        "/console/endpoints",
        "/console/overview",
    ] {
        let page = stranger.get(path).await.expect(200);
        page.says_not(&delivery)
            .says_not(event)
            .says_not("example.com");
    }
    let mine = owner.get("/console/settings").await.expect(200);
    let theirs = walhook::console::links::sessions(&api.store, Some("globex"))
        .await
        .unwrap();
    mine.says_not(&theirs[0].id.to_string());
    let ended = owner
        .post(
            "/console/settings/end",
            &[("session", &theirs[0].id.to_string())],
        )
        .await;
    assert_eq!(ended.status, 400);
    stranger.get("/console/overview").await.expect(200);
}

#[tokio::test]
async fn a_form_without_the_browsers_word_of_its_site_needs_our_origin() {
    let api = Api::start().await;
    let browser = Browser::signed_in(&api, "acme").await;
    let token = browser.token().await;
    for (origin, status) in [
        (Some(api.base.clone()), 303),
        (Some("null".to_owned()), 403),
        (Some("http://127.0.0.1:1".to_owned()), 403),
        (None, 403),
    ] {
        let mut request = browser
            .request(Method::POST, "/console/theme")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("token={token}&theme=dark"));
        if let Some(origin) = &origin {
            request = request.header("origin", origin);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{origin:?}");
    }
}
