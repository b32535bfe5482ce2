//! `walhook portal-link` and `portal-session`, and the console of the real binary.

use std::time::{Duration, Instant};

use reqwest::Method;
use reqwest::header::SET_COOKIE;

use super::browser::{Browser, code, form};
use crate::harness::operated::Operated;
use crate::harness::walhook::{Installation, ORDER_RULES, ORDERS};

#[tokio::test]
async fn a_link_of_the_command_signs_in_and_its_session_is_listed_and_ended() {
    let operated = Operated::start(Installation::of_orders().await);
    operated.wait_ready(200, &[]).await;
    let made = operated
        .walhook(&[
            "portal-link",
            "acme",
            "--actor",
            "Anna",
            "--capabilities",
            "view,resend",
        ])
        .await
        .exits(0);
    let link = made.out.trim();
    assert!(link.starts_with(&operated.url("/console/enter#")), "{link}");
    assert!(!made.err.contains(code(link)), "{}", made.err);
    let made = made
        .says("Signs in once")
        .says("`Anna` of the tenant `acme`");
    let mut browser = Browser::of(&operated.url(""));
    browser.enter(code(made.out.trim())).await.expect(303);
    let page = browser.get("/console/overview").await.expect(200);
    page.says("You have no endpoint yet")
        .says_not("/console/endpoints/new");
    let refused = browser.get("/console/endpoints/new").await.expect(403);
    refused.says("`manage`");
    let listed = operated
        .walhook(&["portal-session", "list", "--json"])
        .await
        .exits(0)
        .json();
    assert_eq!(listed[0]["actor"], "Anna");
    assert_eq!(
        listed[0]["capabilities"],
        serde_json::json!(["view", "resend"])
    );
    let id = listed[0]["id"].as_str().unwrap();
    operated
        .walhook(&["portal-session", "revoke", "--session", id])
        .await
        .exits(0)
        .says("Ended 1 session and revoked 0 unused links.");
    let began = Instant::now();
    while browser.get("/console/overview").await.status != 401 {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "it is still admitted"
        );
        crate::harness::pause(began).await;
    }
    operated
        .walhook(&["portal-session", "revoke", "--tenant", "acme"])
        .await
        .exits(1)
        .says("nothing open to end");
    operated
        .walhook(&["portal-session", "list"])
        .await
        .exits(0)
        .says("Nobody is signed in");
    // The log knows of none of it.
    for secret in [code(made.out.trim()), browser.cookie_value()] {
        assert!(!operated.log().contains(secret));
    }
    for (arguments, says) in [
        (
            &["portal-link", "acme", "--expires-in", "1h"][..],
            "1s to 10m",
        ),
        (
            &["portal-link", "acme", "--capabilities", "root"],
            "is not a capability",
        ),
        (
            &["portal-link", "acme", "--next", "https://evil.example/"],
            "/console/",
        ),
        (&["portal-link", ""], "the tenant is empty"),
        (&["portal-session", "revoke"], "--session"),
    ] {
        operated.walhook(arguments).await.exits(2).says(says);
    }
}

#[tokio::test]
async fn behind_https_the_cookie_is_bound_to_its_host_and_forms_to_the_public_url() {
    let settings = "public_url = 'https://hooks.example.com'\n";
    let installation = Installation::create(ORDERS, ORDER_RULES, settings).await;
    let operated = Operated::start(installation);
    operated.wait_ready(200, &[]).await;
    let made = operated.walhook(&["portal-link", "acme"]).await.exits(0);
    let link = made.out.trim();
    assert!(
        link.starts_with("https://hooks.example.com/console/enter#"),
        "{link}"
    );
    let browser = Browser::of(&operated.url(""));
    let post = async |origin: &str| {
        let request = browser
            .request(Method::POST, "/console/enter")
            .header("origin", origin)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form(&[("code", code(link))]));
        request.send().await.unwrap()
    };
    let refused = post(&operated.url("")).await;
    assert_eq!(refused.status(), 403);
    assert!(
        refused
            .text()
            .await
            .unwrap()
            .contains("https://hooks.example.com")
    );
    let entered = post("https://hooks.example.com").await;
    assert_eq!(entered.status(), 303);
    let cookie = entered.headers()[SET_COOKIE].to_str().unwrap();
    assert!(cookie.starts_with("__Host-walhook-portal="), "{cookie}");
    assert!(
        cookie.ends_with("Path=/; Max-Age=28800; HttpOnly; SameSite=Lax; Secure"),
        "{cookie}"
    );
}

#[tokio::test]
async fn a_public_url_that_is_no_origin_is_refused_and_without_one_there_is_no_console() {
    let mut installation = Installation::of_orders().await;
    installation.edit(
        "'127.0.0.1:0'",
        "'127.0.0.1:0'\npublic_url = 'http://hooks.example.com'",
    );
    let error = walhook::config::Config::load(Some(&installation.config_file())).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("api.public_url") && error.contains("https"),
        "{error}"
    );
    let api = crate::api::fixtures::Api::start_without_console().await;
    let browser = Browser::of(&api.base);
    for path in ["/console", "/console/enter", "/console/deliveries"] {
        browser.get(path).await.expect(404).says("api.public_url");
    }
}
