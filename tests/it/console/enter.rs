//! Links, sessions and their ends.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::Method;
use reqwest::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, SET_COOKIE};
use walhook::audit::Caller;
use walhook::console::capability::Capability;
use walhook::console::links::{self, Revocation};

use super::browser::{Browser, code, link, mint, new_link};
use crate::api::fixtures::Api;

#[tokio::test]
async fn a_link_signs_in_once_and_leads_to_its_page() {
    let api = Api::start().await;
    let minted = link(&api, "acme", &Capability::ALL).await;
    assert!(
        minted
            .url
            .starts_with(&format!("{}/console/enter#", api.base))
    );
    let code = code(&minted.url);
    let mut browser = Browser::of(&api.base);
    // A bot that looks at the link redeems nothing, and sees no code.
    let page = browser.get("/console/enter").await.expect(200);
    assert!(!page.text.contains(code));
    assert_eq!(page.headers[CACHE_CONTROL], "no-store");
    let policy = page.headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"));
    let entered = browser.enter(code).await.expect(303);
    assert_eq!(entered.location(), "/console/deliveries");
    let cookie = entered.headers[SET_COOKIE].to_str().unwrap();
    assert!(cookie.starts_with("walhook-portal="), "{cookie}");
    assert!(cookie.contains("; HttpOnly; SameSite=Lax"), "{cookie}");
    assert!(!cookie.contains(code));
    let page = browser.get("/console/deliveries").await.expect(200);
    page.says("Anna").says("acme");
    let again = Browser::of(&api.base).enter(code).await.expect(403);
    again.says("It was used at");
    // Nothing that opens a session stands in the store.
    let stored =
        "select count(*) from portal_links where encode(code_hash, 'escape') like '%' || $1 || '%'";
    let client = api.store.get().await.unwrap();
    let row = client.query_one(stored, &[&code]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 0);
}

#[tokio::test]
async fn of_many_that_redeem_one_link_at_once_one_is_signed_in() {
    let api = Api::start().await;
    let minted = link(&api, "acme", &Capability::ALL).await;
    let tries = (0..16).map(|_| {
        let (base, code) = (api.base.clone(), code(&minted.url).to_owned());
        tokio::spawn(async move { Browser::of(&base).enter(&code).await.status })
    });
    let mut statuses = Vec::new();
    for one in tries.collect::<Vec<_>>() {
        statuses.push(one.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses.iter().filter(|status| **status == 303).count(), 1);
    assert_eq!(api.count("select count(*) from portal_sessions").await, 1);
}

#[tokio::test]
async fn what_is_no_valid_link_is_refused_in_words() {
    let api = Api::start().await;
    let mut browser = Browser::of(&api.base);
    for unknown in ["", "x", &"A".repeat(43)] {
        let page = browser.enter(unknown).await.expect(403);
        page.says("is unknown here");
    }
    let minted = link(&api, "acme", &Capability::ALL).await;
    api.execute("update portal_links set expires_at = now() - interval '1 minute'")
        .await;
    let page = browser.enter(code(&minted.url)).await.expect(403);
    page.says("It expired at");
    let minted = link(&api, "acme", &Capability::ALL).await;
    let what = Revocation {
        link: Some(minted.id),
        ..Revocation::default()
    };
    let ended = links::revoke(&api.store, &what, &Caller::of_command())
        .await
        .unwrap();
    assert_eq!((ended.links, ended.sessions), (1, 0));
    let page = browser.enter(code(&minted.url)).await.expect(403);
    page.says("It was revoked at");
    let page = browser.get("/console/deliveries").await.expect(401);
    page.says("Nobody is signed in");
}

#[tokio::test]
async fn a_session_ends_by_time_by_disuse_and_by_revocation_and_says_so() {
    let api = Api::start().await;
    for (change, says) in [
        ("expires_at = now()", "Your session ended at"),
        (
            "seen_at = now() - interval '61 minutes'",
            "an hour after you last used it",
        ),
        ("revoked_at = now()", "Your session was ended at"),
    ] {
        let mut browser = Browser::of(&api.base);
        let minted = link(&api, "acme", &[Capability::View]).await;
        browser.enter(code(&minted.url)).await.expect(303);
        // Not asked for yet, so that this process has not cached it.
        api.execute(&format!(
            "update portal_sessions set {change} where link_id = '{}'",
            minted.id
        ))
        .await;
        let page = browser.get("/console/deliveries").await.expect(401);
        page.says(says);
    }
}

#[tokio::test]
async fn a_revoked_session_is_refused_within_five_seconds() {
    let api = Api::start().await;
    let browser = Browser::signed_in(&api, "acme").await;
    browser.get("/console/overview").await.expect(200);
    let what = Revocation {
        actor: Some("Anna".to_owned()),
        ..Revocation::default()
    };
    let ended = links::revoke(&api.store, &what, &Caller::of_command())
        .await
        .unwrap();
    assert_eq!(ended.sessions, 1);
    let began = std::time::Instant::now();
    while browser.get("/console/overview").await.status != 401 {
        assert!(
            began.elapsed() < Duration::from_secs(7),
            "it is still admitted"
        );
        crate::harness::pause(began).await;
    }
}

#[tokio::test]
async fn signing_out_ends_the_session_at_once() {
    let api = Api::start().await;
    let browser = Browser::signed_in(&api, "acme").await;
    let page = browser.post("/console/sign-out", &[]).await.expect(200);
    let cookie = page.headers[SET_COOKIE].to_str().unwrap();
    assert!(cookie.contains("Max-Age=0"), "{cookie}");
    browser.get("/console/overview").await.expect(401);
    // Who made the link, and who ended the session, is known.
    let entered = "select count(*) from audit_log where tenant_id = 'acme' and
        action = 'portal_link.create' and principal_kind = 'command'";
    assert_eq!(api.count(entered).await, 1);
    let entered = "select count(*) from audit_log
        where action = 'portal_session.revoke' and principal_kind = 'portal' and actor = 'Anna'";
    assert_eq!(api.count(entered).await, 1);
}

#[tokio::test]
async fn the_api_takes_no_cookie_and_the_console_no_token() {
    let api = Api::start().await;
    let browser = Browser::signed_in(&api, "acme").await;
    let page = browser.get("/api/v1/tenant/webhooks/deliveries").await;
    assert_eq!(page.status, 401);
    let token = api.token("acme").await;
    let request = browser.request(Method::GET, "/console/deliveries");
    let answer = request.bearer_auth(token).send().await.unwrap();
    assert_eq!(answer.status(), 400);
}

#[tokio::test]
async fn a_session_lasts_as_long_as_its_link_says() {
    let api = Api::start().await;
    let mut wanted = new_link("acme", &[Capability::View]);
    wanted.session_ttl = Duration::from_secs(120);
    let minted = mint(&api.store, &api.base, &wanted).await;
    let mut browser = Browser::of(&api.base);
    let entered = browser.enter(code(&minted.url)).await.expect(303);
    let cookie = entered.headers[SET_COOKIE].to_str().unwrap();
    assert!(cookie.contains("Max-Age=120;"), "{cookie}");
    let open = links::sessions(&api.store, Some("acme")).await.unwrap();
    let left = open[0].expires_at.as_second() - Timestamp::now().as_second();
    assert!((100..=121).contains(&left), "{left}");
    assert!(
        links::sessions(&api.store, Some("globex"))
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn who_sends_many_unknown_links_is_slowed_down_and_valid_ones_are_not_refused() {
    let api = Api::start().await;
    let mut browser = Browser::of(&api.base);
    for number in 0..30 {
        let unknown = format!("{number:0>43}");
        assert_eq!(browser.enter(&unknown).await.status, 403);
    }
    let minted = link(&api, "acme", &Capability::ALL).await;
    browser.enter(code(&minted.url)).await.expect(303);
    browser.get("/console/overview").await.expect(200);
}

#[tokio::test]
async fn a_link_of_another_tenant_asks_before_it_replaces_a_session() {
    let api = Api::start().await;
    let mut browser = Browser::signed_in(&api, "acme").await;
    let minted = link(&api, "globex", &Capability::ALL).await;
    let code = code(&minted.url);
    let asked = browser.enter(code).await.expect(200);
    let asked = asked.says("You are signed in as Anna of <b>acme</b>");
    assert!(asked.headers.get(SET_COOKIE).is_none());
    browser
        .get("/console/overview")
        .await
        .expect(200)
        .says("acme");
    let fields = [("code", code), ("instead", "1")];
    let entered = browser.post_raw("/console/enter", &fields).await;
    assert!(entered.expect(303).headers.contains_key(SET_COOKIE));
    // One of the same tenant signs in as ever, and so does one of a session that has ended.
    let minted = link(&api, "acme", &Capability::ALL).await;
    browser
        .enter(super::browser::code(&minted.url))
        .await
        .expect(303);
    browser.post("/console/sign-out", &[]).await.expect(200);
    let minted = link(&api, "globex", &Capability::ALL).await;
    browser
        .enter(super::browser::code(&minted.url))
        .await
        .expect(303);
}

#[tokio::test]
async fn a_page_that_asks_by_itself_keeps_no_session_alive() {
    let api = Api::start().await;
    let browser = Browser::signed_in(&api, "acme").await;
    let unused = "update portal_sessions set seen_at = now() - interval '50 minutes'";
    let seen = "select count(*) from portal_sessions where seen_at > now() - interval '1 minute'";
    api.execute(unused).await;
    let poll = || {
        browser
            .request(Method::GET, "/console/deliveries")
            .header("hx-request", "true")
    };
    for _ in 0..2 {
        assert_eq!(poll().send().await.unwrap().status(), 200);
    }
    assert_eq!(api.count(seen).await, 0);
    // Somebody who clicks meanwhile is noted, though the session is in memory.
    browser.get("/console/deliveries").await.expect(200);
    assert_eq!(api.count(seen).await, 1);
}

#[tokio::test]
async fn a_tenants_role_ends_sessions_and_opens_none_again() {
    let api = Api::start().await;
    let _browser = Browser::signed_in(&api, "acme").await;
    let mut client = api.store.get().await.unwrap();
    let mut set = async |value: &str| {
        let transaction = walhook::db::tenant_transaction(&mut client, "acme")
            .await
            .unwrap();
        let sql = format!("update portal_sessions set revoked_at = {value}");
        let set = transaction.execute(sql.as_str(), &[]).await;
        transaction.commit().await.unwrap();
        set.map_err(|error| error.code().unwrap().code().to_owned())
    };
    assert_eq!(set("null").await, Err("42501".to_owned()));
    assert_eq!(set("now()").await, Ok(1));
    assert_eq!(set("null").await, Ok(0));
}

#[tokio::test]
async fn what_ends_is_entered_for_its_tenant_and_what_does_not_leaves_the_pool_sound() {
    let api = Api::start().await;
    let _both = (
        Browser::signed_in(&api, "acme").await,
        Browser::signed_in(&api, "globex").await,
    );
    let what = Revocation {
        actor: Some("Anna".to_owned()),
        ..Revocation::default()
    };
    // An error in the middle is rolled back, and the connection is as new for the next.
    api.execute("alter table audit_log rename to audit_log_away")
        .await;
    for _ in 0..20 {
        let failed = links::revoke(&api.store, &what, &Caller::of_command()).await;
        assert!(failed.is_err());
    }
    api.execute("alter table audit_log_away rename to audit_log")
        .await;
    let open = "select count(*) from portal_sessions where revoked_at is null";
    assert_eq!(api.count(open).await, 2);
    let ended = links::revoke(&api.store, &what, &Caller::of_command()).await;
    assert_eq!(ended.unwrap().sessions, 2);
    let entered = "select count(distinct tenant_id) from audit_log
        where action = 'portal_session.revoke'";
    assert_eq!(api.count(entered).await, 2);
    let untold = "select count(*) from audit_log where tenant_id is null";
    assert_eq!(api.count(untold).await, 0);
    // They are tenants by their links alone.
    let known = "select count(*) from tenants where tenant_id in ('acme', 'globex')";
    assert_eq!(api.count(known).await, 2);
    // A link of a day ago is forgotten after thirty.
    api.execute("update portal_links set expires_at = now() - interval '31 days'")
        .await;
    let config = walhook::db::StoreConfig::default();
    walhook::delivery::pruner::prune(&api.store, &config, Timestamp::now())
        .await
        .unwrap();
    assert_eq!(api.count("select count(*) from portal_links").await, 0);
    assert_eq!(api.count("select count(*) from portal_sessions").await, 2);
}
