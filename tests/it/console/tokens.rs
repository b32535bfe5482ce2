//! Tokens of the API that are made in the console.

use walhook::console::capability::Capability;

use super::browser::Browser;
use crate::api::fixtures::Api;

const PATH: &str = "/console/settings/tokens";

#[tokio::test]
async fn a_token_is_made_shown_once_and_revoked() {
    let api = Api::start().await;
    let browser = Browser::signed_in(&api, "acme").await;
    browser
        .get(PATH)
        .await
        .expect(200)
        .says("There is no token yet");
    let fields = [("name", "their CI"), ("days", "30")];
    let page = browser.post(PATH, &fields).await.expect(200);
    let from = page.text.find("whk_").unwrap();
    let token: String = page.text[from..]
        .chars()
        .take_while(|one| one.is_ascii_alphanumeric() || *one == '_')
        .collect();
    api.get("/events", &token).await.expect(200);
    let page = browser.get(PATH).await.expect(200);
    let page = page.says("their CI").says("by Anna").says("127.0.0.1");
    page.says_not("whk_");
    let listed = "select count(*) from api_tokens where expires_at between
        now() + interval '29 days' and now() + interval '31 days' and not manages_tokens";
    assert_eq!(api.count(listed).await, 1);
    let id = walhook::api::tokens::list(&api.store, Some("acme"))
        .await
        .unwrap()[0]
        .id
        .to_string();
    let stranger = Browser::signed_in(&api, "globex").await;
    let revoke = format!("{PATH}/revoke");
    stranger.post(&revoke, &[("id", &id)]).await.expect(404);
    browser.post(&revoke, &[("id", &id)]).await.expect(303);
    api.get("/events", &token)
        .await
        .refused(401, "unauthorized");
    browser.get(PATH).await.expect(200).says("revoked");
}

/// A token may do everything.
#[tokio::test]
async fn a_session_without_every_capability_makes_no_token() {
    let api = Api::start().await;
    let few = [Capability::View, Capability::Tokens];
    let browser = Browser::with(&api, "acme", &few).await;
    let page = browser.get(PATH).await.expect(200);
    page.says("payloads").says_not("Make the token");
    let page = browser.post(PATH, &[("name", "x")]).await.expect(403);
    page.says("`payloads`");
    // What a link gives unless it says otherwise.
    let browser = Browser::with(&api, "acme", &Capability::USUAL).await;
    browser.get(PATH).await.expect(403).says("`tokens`");
    assert_eq!(api.count("select count(*) from api_tokens").await, 0);
}
