//! The ways that people take: from a link to the cause, from the cause to all sent again.

use serde_json::json;
use walhook::event::DeliveryId;

use crate::stage::Stage;

#[tokio::test]
async fn a_link_signs_in_leaves_no_code_behind_and_leads_to_the_cause_in_two_clicks() {
    let Some(mut stage) = Stage::set().await else {
        return;
    };
    stage.sign_in().await;
    let trace = stage
        .chromium
        .run("location.href + ' ' + history.length")
        .await;
    assert!(!trace.as_str().unwrap().contains('#'), "{trace}");
    // 1: the state, 2: the delivery.
    stage
        .chromium
        .follow("document.querySelector('.choices a[href*=\"status=failed\"]').click()")
        .await;
    let path = format!("/console/deliveries/{}", stage.failed);
    stage
        .chromium
        .follow(&format!(
            "document.querySelector('a[href=\"{path}\"]').click()"
        ))
        .await;
    let text = stage.chromium.text().await;
    assert!(text.contains("Failed after 3 attempts"), "{text}");
    assert!(
        text.contains("The receiver refused the signature"),
        "{text}"
    );
    assert!(
        text.contains("12345678901234567890.10"),
        "digits are exact: {text}"
    );
    // Retry asks, and then it is due.
    stage.chromium.press("r").await;
    stage
        .chromium
        .until("document.querySelector('details[data-key=r]').open")
        .await;
    stage
        .chromium
        .follow("document.querySelector('details[data-key=r] button').click()")
        .await;
    let text = stage.chromium.text().await;
    assert!(text.contains("It is due now"), "{text}");
    stage.assert_quiet("from the link to the retry");
}

#[tokio::test]
async fn all_that_failed_is_sent_again_in_four_clicks_with_the_number_known() {
    let Some(mut stage) = Stage::set().await else {
        return;
    };
    stage.sign_in().await;
    stage
        .chromium
        .follow("document.querySelector('.rail a[href=\"/console/recover\"]').click()")
        .await;
    stage
        .chromium
        .follow("document.querySelector('.questions button').click()")
        .await;
    let text = stage.chromium.text().await;
    assert!(text.contains("Send 4 deliveries again"), "{text}");
    stage
        .chromium
        .follow("document.querySelector('.preview form button').click()")
        .await;
    let text = stage.chromium.text().await;
    assert!(text.contains("4 deliveries are due"), "{text}");
    stage.assert_quiet("recover");
}

#[tokio::test]
async fn an_event_says_why_it_was_not_sent_in_three_clicks() {
    let Some(mut stage) = Stage::set().await else {
        return;
    };
    stage.sign_in().await;
    stage
        .chromium
        .follow("document.querySelector('.rail a[href=\"/console/events\"]').click()")
        .await;
    let path = format!("/console/events/{}", stage.event);
    stage
        .chromium
        .follow(&format!(
            "document.querySelector('a[href=\"{path}\"]').click()"
        ))
        .await;
    let text = stage.chromium.text().await;
    assert!(text.contains("not subscribed to this type"), "{text}");
    assert!(text.contains("disabled at the time"), "{text}");
    stage.assert_quiet("an event");
}

#[tokio::test]
async fn foreign_text_runs_nothing_and_commands_nothing() {
    let Some(mut stage) = Stage::set().await else {
        return;
    };
    stage.sign_in().await;
    for path in [
        "/console/overview".to_owned(),
        "/console/deliveries".to_owned(),
        format!("/console/deliveries/{}", stage.failed),
        format!("/console/deliveries/{}/curl", stage.failed),
        format!("/console/events/{}", stage.event),
        "/console/endpoints".to_owned(),
        "/console/recover?what=failed".to_owned(),
        "/console/catalogue".to_owned(),
        "/console/test".to_owned(),
    ] {
        stage.open(&path).await;
        let found = "document.querySelectorAll('img, main [hx-trigger=load], [onerror]').length";
        assert_eq!(stage.chromium.run(found).await, json!(0), "{path}");
        assert_eq!(stage.chromium.path().await, path);
    }
    // The session is still there: nothing has signed out.
    stage.open("/console/overview").await;
    assert!(stage.chromium.text().await.contains("Overview"));
    stage.assert_quiet("foreign text");
}

#[tokio::test]
async fn what_is_new_is_told_and_pushes_nothing_away() {
    let Some(mut stage) = Stage::set().await else {
        return;
    };
    stage.sign_in().await;
    let rows = "document.querySelectorAll('[data-row]').length";
    let before = stage.chromium.run(rows).await;
    stage.deliver().await;
    stage
        .chromium
        .until("document.querySelector('.newer')?.textContent === '1 new · show'")
        .await;
    assert_eq!(stage.chromium.run(rows).await, before);
    stage
        .chromium
        .follow("document.querySelector('.newer').click()")
        .await;
    assert_ne!(stage.chromium.run(rows).await, before);
    stage.assert_quiet("what is new");
}

#[tokio::test]
async fn a_row_that_changes_is_shown_again_where_it_is_unless_updates_are_paused() {
    let Some(mut stage) = Stage::set().await else {
        return;
    };
    stage.sign_in().await;
    let indicator = "document.querySelector('#live').textContent";
    let says = |word: &str| format!("{indicator} === '{word}'");
    stage.chromium.until(&says("live ●")).await;
    let row = format!("document.querySelector('[data-row=\"{}\"]')", stage.failed);
    let shows = |word: &str| format!("{row}.textContent.includes('{word}')");
    assert_eq!(stage.chromium.run(&shows("failed")).await, true);
    let place = format!("[...document.querySelectorAll('[data-row]')].indexOf({row})");
    let before = stage.chromium.run(&place).await;
    let change = async |stage: &Stage, status: &str| {
        let id = stage.failed.parse::<DeliveryId>().unwrap().0;
        let change = format!(
            "delete from delivery_schedule where delivery_id = '{id}';
             update webhook_deliveries set status = '{status}', attempts = attempts + 1,
                 delivered_at = case when '{status}' = 'delivered' then now() end
             where id = '{id}'"
        );
        stage.api.execute(&change).await;
    };
    change(&stage, "delivered").await;
    stage.chromium.until(&shows("delivered")).await;
    assert_eq!(stage.chromium.run(&place).await, before);
    // What is paused changes nothing, and catches up when it goes on.
    stage.chromium.press("p").await;
    stage.chromium.until(&says("paused ❚❚")).await;
    change(&stage, "cancelled").await;
    stage.deliver().await;
    assert_eq!(stage.chromium.run(&shows("delivered")).await, true);
    stage.chromium.press("p").await;
    stage.chromium.until(&says("live ●")).await;
    stage.chromium.until(&shows("cancelled")).await;
    stage
        .chromium
        .until("document.querySelector('.newer') !== null")
        .await;
    stage.chromium.follow_key("n").await;
    stage.chromium.until(&says("live ●")).await;
    stage.assert_quiet("live updates");
}

#[tokio::test]
async fn a_hidden_page_asks_for_nothing_and_one_that_is_seen_again_goes_on() {
    let Some(mut stage) = Stage::set().await else {
        return;
    };
    stage.sign_in().await;
    let says = |word: &str| format!("document.querySelector('#live').textContent === '{word}'");
    stage.chromium.until(&says("live ●")).await;
    let see = |hidden: bool| {
        format!(
            "Object.defineProperty(document, 'hidden', {{value: {hidden}, configurable: true}});
             document.dispatchEvent(new Event('visibilitychange'))"
        )
    };
    stage.chromium.run(&see(true)).await;
    stage.chromium.until(&says("not live ○")).await;
    let asked = "performance.getEntriesByType('resource').length";
    let before = stage.chromium.run(asked).await;
    stage.deliver().await;
    // Longer than what is asked for without a stream.
    stage
        .chromium
        .run("new Promise(done => setTimeout(done, 11_000))")
        .await;
    assert_eq!(stage.chromium.run(asked).await, before);
    stage.chromium.run(&see(false)).await;
    stage
        .chromium
        .until("document.querySelector('.newer') !== null")
        .await;
    stage.assert_quiet("a hidden page");
}

#[tokio::test]
async fn events_and_the_overview_are_live_too() {
    let Some(mut stage) = Stage::set().await else {
        return;
    };
    stage.sign_in().await;
    stage.open("/console/events").await;
    let live = "document.querySelector('#live').textContent === 'live ●'";
    stage.chromium.until(live).await;
    stage
        .api
        .event("acme", "customer.created", jiff::Timestamp::now())
        .await;
    stage
        .chromium
        .until("document.querySelector('.newer')?.textContent === '1 new · show'")
        .await;
    stage.open("/console/overview").await;
    stage.chromium.until(live).await;
    let token = stage.api.token("acme").await;
    let path = format!("/subscriptions/{}", stage.endpoint);
    stage
        .api
        .patch(&path, &token, json!({"active": false}))
        .await
        .expect(200);
    stage
        .chromium
        .until("document.querySelectorAll('.verdicts .s-parked').length === 2")
        .await;
    stage.assert_quiet("events and the overview");
}

#[tokio::test]
async fn the_keyboard_alone_leads_everywhere() {
    let Some(mut stage) = Stage::set().await else {
        return;
    };
    stage.sign_in().await;
    stage.chromium.press("j").await;
    stage.chromium.press("j").await;
    stage
        .chromium
        .until("document.querySelectorAll('[data-row]')[1].contains(document.activeElement)")
        .await;
    stage.chromium.press("?").await;
    stage
        .chromium
        .until("document.querySelector('#keys').open")
        .await;
    stage
        .chromium
        .run("document.querySelector('#keys').close()")
        .await;
    stage.chromium.press("/").await;
    stage
        .chromium
        .until("document.activeElement.id === 'q'")
        .await;
    stage.chromium.run("document.activeElement.blur()").await;
    stage.chromium.press("g").await;
    stage.chromium.press("e").await;
    stage
        .chromium
        .until("location.pathname === '/console/endpoints'")
        .await;
    stage.assert_quiet("keys");
}

#[tokio::test]
async fn without_script_everything_is_there() {
    let Some(mut stage) = Stage::set().await else {
        return;
    };
    let link = stage.link().await;
    stage.chromium.scripts(false).await;
    stage.chromium.open(&link).await;
    let fill = format!(
        "document.querySelector('#code').value = '{link}'; document.querySelector('button').click()"
    );
    stage.chromium.follow(&fill).await;
    assert_eq!(stage.chromium.path().await, "/console/deliveries");
    let path = format!("/console/deliveries/{}", stage.failed);
    stage.open(&path).await;
    stage
        .chromium
        .follow("document.querySelector('details[data-key=r] button').click()")
        .await;
    let text = stage.chromium.text().await;
    assert!(text.contains("It is due now"), "{text}");
    stage.open("/console/recover").await;
    stage
        .chromium
        .follow("document.querySelector('.questions button').click()")
        .await;
    assert!(stage.chromium.text().await.contains("deliveries again"));
    stage.assert_quiet("without script");
}

#[tokio::test]
async fn a_poll_that_is_refused_leaves_the_page_and_says_so() {
    let Some(mut stage) = Stage::set().await else {
        return;
    };
    stage.sign_in().await;
    let path = format!("/console/jobs/{}", stage.job);
    stage.open(&path).await;
    let shown = "document.querySelector('#job .facts') !== null";
    assert_eq!(stage.chromium.run(shown).await, true);
    stage
        .api
        .execute("update portal_sessions set revoked_at = now()")
        .await;
    stage
        .chromium
        .until("!document.querySelector('#stale').hidden")
        .await;
    let text = stage.chromium.text().await;
    assert!(text.contains("You are signed out"), "{text}");
    assert_eq!(stage.chromium.run(shown).await, true);
}

#[tokio::test]
async fn a_second_link_in_the_same_tab_signs_in() {
    let Some(mut stage) = Stage::set().await else {
        return;
    };
    // The first does not sign in: its page stays at the address of the second.
    let unknown = format!("{}/console/enter#{}", stage.api.base, "A".repeat(43));
    stage.chromium.open(&unknown).await;
    stage
        .chromium
        .until("document.body.innerText.includes('does not sign you in')")
        .await;
    let link = stage.link().await;
    stage
        .chromium
        .run(&format!("void (location.href = '{link}')"))
        .await;
    stage
        .chromium
        .until("location.pathname === '/console/deliveries' && document.readyState === 'complete'")
        .await;
    // One on the form itself, too.
    stage.open("/console/enter").await;
    let link = stage.link().await;
    stage
        .chromium
        .run(&format!("void (location.href = '{link}')"))
        .await;
    stage
        .chromium
        .until("location.pathname === '/console/deliveries' && document.readyState === 'complete'")
        .await;
}
