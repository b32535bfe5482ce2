//! What others wrote is shown as it is, and is never a part of the page.

use jiff::Timestamp;
use serde_json::json;

use super::browser::Browser;
use crate::api::fixtures::{Api, id};

const HOSTILE: [&str; 8] = [
    "<script>window.pwned=1</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "<a hx-get=\"/console/sign-out\" hx-trigger=\"load\">x</a>",
    "{{ shell.token() }}",
    "</textarea></pre><svg/onload=alert(1)>",
    "javascript:alert(1)",
    "\u{202e}desrever\u{2066}",
];

/// A page holds none of these as markup.
fn assert_inert(page: &str, path: &str) {
    for sign in [
        "<script>window",
        "<img src=x",
        "<a hx-get=",
        "<svg/onload",
        "onmouseover='alert",
    ] {
        assert!(!page.contains(sign), "{path} holds {sign}");
    }
    // Inside a tag no attribute of theirs: between its quoted values stands what we write.
    for tag in page.split('<').skip(1) {
        let tag = tag.split('>').next().unwrap();
        let ours: String = tag.split('"').step_by(2).collect();
        assert!(!ours.contains("onerror"), "{path}: <{tag}>");
        assert!(!ours.contains("onmouseover"), "{path}: <{tag}>");
        assert!(!tag.contains(" href=\"javascript:"), "{path}: <{tag}>");
    }
}

#[tokio::test]
async fn hostile_strings_stay_text_in_every_foreign_field() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let browser = Browser::signed_in(&api, "acme").await;
    for hostile in HOSTILE {
        let body = json!({"url": "https://example.com/hook", "event": "*", "description": hostile});
        let subscription = api.post("/subscriptions", &token, body).await.expect(201);
        let delivery = api.delivery_of_now(&subscription, "failed").await;
        let client = api.store.get().await.unwrap();
        client
            .execute(
                "insert into webhook_attempts (delivery_id, number, tenant_id, started_at,
                     duration_ms, http_status, error_class, error, response_excerpt)
                 values ($1, 1, 'acme', now(), 5, null, 'response', $2, $2)",
                &[&delivery.0, &hostile],
            )
            .await
            .unwrap();
        client
            .execute(
                "update webhook_deliveries set last_error = $2 where id = $1",
                &[&delivery.0, &hostile],
            )
            .await
            .unwrap();
        client
            .execute(
                "update webhook_subscriptions set filter_error = $2, filter_failures = 1,
                     filter_failed_at = now(), filter = $2, disabled_reason = $2, active = false,
                     disabled_at = now()
                 where id = $1",
                &[&uuid(id(&subscription)), &hostile],
            )
            .await
            .unwrap();
        let event = api
            .event("acme", "payment.received", Timestamp::now())
            .await;
        client
            .execute(
                "update webhook_events set body = convert_to($2, 'utf8'), row_key = $2 where id = $1",
                &[&event.0, &hostile],
            )
            .await
            .unwrap();
        for path in [
            "/console/overview".to_owned(),
            "/console/deliveries".to_owned(),
            format!("/console/deliveries/{delivery}"),
            format!("/console/deliveries/{delivery}/curl"),
            "/console/events".to_owned(),
            format!("/console/events/{event}"),
            "/console/recover?what=failed".to_owned(),
            "/console/endpoints".to_owned(),
            format!("/console/endpoints/{}", id(&subscription)),
            format!("/console/endpoints/{}/edit", id(&subscription)),
            "/console/catalogue".to_owned(),
            "/console/test".to_owned(),
            "/console/settings".to_owned(),
        ] {
            let page = browser.get(&path).await;
            assert_eq!(page.status, 200, "{path}: {}", page.text);
            assert_inert(&page.text, &path);
        }
        // What the URL says comes back too.
        let asked =
            super::browser::form(&[("type", hostile), ("endpoint", hostile), ("q", hostile)]);
        for path in [
            "/console/deliveries",
            "/console/recover",
            "/console/search",
            "/console/events",
        ] {
            let page = browser.get(&format!("{path}?{asked}")).await;
            assert_inert(&page.text, path);
        }
        let fields = [
            ("url", hostile),
            ("description", hostile),
            ("filter", hostile),
            ("others", hostile),
            ("headers", hostile),
        ];
        let page = browser
            .post("/console/endpoints/new", &fields)
            .await
            .expect(400);
        assert_inert(&page.text, "/console/endpoints/new");
    }
}

fn uuid(id: &str) -> uuid::Uuid {
    uuid::Uuid::parse_str(&id["sub_".len()..]).unwrap()
}

/// What evaluates strings fails silently under the policy of the pages, or is what it forbids.
#[test]
fn no_template_holds_what_the_policy_forbids() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/console/templates");
    let mut seen = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        seen += 1;
        for forbidden in [
            "hx-on",
            "js:",
            "hx-vals",
            "hx-headers",
            "style=",
            "<style",
            "|safe",
            "javascript:",
        ] {
            assert!(!text.contains(forbidden), "{}: {forbidden}", path.display());
        }
        for tag in text.split('<').skip(1) {
            let tag = tag.split('>').next().unwrap();
            let mut names = tag
                .split_whitespace()
                .filter_map(|part| part.split_once('='));
            assert!(
                !names.any(|(name, _)| name.starts_with("on")),
                "{}: <{tag}>",
                path.display()
            );
            assert!(
                !tag.contains("hx-trigger") || !tag.contains('['),
                "{}: <{tag}>",
                path.display()
            );
            assert!(
                !tag.starts_with("script") || tag.contains("src="),
                "{}: <{tag}>",
                path.display()
            );
            // A form that changes something has its session's token beside it.
        }
        let forms = text.matches("method=\"post\"").count();
        let tokens = text.matches("name=\"token\"").count() + text.matches("shell.form()").count();
        let is_entrance = path.ends_with("enter.html") || path.ends_with("instead.html");
        assert!(is_entrance || forms == tokens, "{}", path.display());
    }
    assert!(seen > 10);
}
