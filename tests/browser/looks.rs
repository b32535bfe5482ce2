//! How the pages look: both themes, a phone, and nothing that scrolls sideways.

use std::path::Path;

use serde_json::json;

use crate::fixtures::id;
use crate::stage::{HOSTILE, Stage};

pub fn pages(stage: &Stage) -> Vec<(&'static str, String)> {
    vec![
        ("overview", "/console/overview".to_owned()),
        ("deliveries", "/console/deliveries".to_owned()),
        ("delivery", format!("/console/deliveries/{}", stage.failed)),
        ("curl", format!("/console/deliveries/{}/curl", stage.failed)),
        ("events", "/console/events".to_owned()),
        ("event", format!("/console/events/{}", stage.event)),
        ("recover", "/console/recover?what=failed".to_owned()),
        ("job", format!("/console/jobs/{}", stage.job)),
        ("endpoints", "/console/endpoints".to_owned()),
        ("endpoint", format!("/console/endpoints/{}", stage.endpoint)),
        (
            "history",
            format!("/console/endpoints/{}/history", stage.endpoint),
        ),
        (
            "edit",
            format!("/console/endpoints/{}/edit", stage.endpoint),
        ),
        ("new-endpoint", "/console/endpoints/new".to_owned()),
        ("catalogue", "/console/catalogue".to_owned()),
        ("test", "/console/test?type=payment.received".to_owned()),
        ("settings", "/console/settings".to_owned()),
        ("tokens", "/console/settings/tokens".to_owned()),
        ("fault", "/console/deliveries/dlv_nothing".to_owned()),
    ]
}

/// Elements whose text stands out too little from what is behind it, by WCAG's ratio.
const FAINT: &str = r"
(() => {
  const channel = (v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const parse = (text) => (text.match(/[\d.]+/g) ?? []).map(Number);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest('option')) continue;
    const style = getComputedStyle(element);
    const a = light(parse(style.color)), b = light(behind(element));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) faint.push(`${element.tagName}.${element.className} ${ratio.toFixed(2)} ${element.textContent.trim().slice(0, 30)}`);
  }
  return faint;
})()";

#[tokio::test]
async fn every_page_is_readable_in_both_themes() {
    let Some(mut stage) = Stage::set().await else {
        return;
    };
    stage.sign_in().await;
    for scheme in ["light", "dark"] {
        stage.chromium.prefers(scheme).await;
        for (name, path) in pages(&stage) {
            stage.open(&path).await;
            let faint = stage.chromium.run(FAINT).await;
            assert_eq!(faint, json!([]), "{scheme} {path}");
            let unnamed =
                "[...document.querySelectorAll('input:not([type=hidden]), select, textarea')]
                .filter((e) => !e.labels.length).length";
            assert_eq!(stage.chromium.run(unnamed).await, json!(0), "{path}");
            assert_eq!(
                stage
                    .chromium
                    .run("document.querySelectorAll('h1').length")
                    .await,
                json!(1),
                "{path}"
            );
            stage.chromium.screenshot(&format!("{name}-{scheme}")).await;
        }
    }
    stage.assert_quiet("both themes");
}

#[tokio::test]
async fn on_a_phone_nothing_scrolls_sideways_and_targets_are_large() {
    let Some(mut stage) = Stage::set().await else {
        return;
    };
    stage.sign_in().await;
    stage.chromium.size(360, 640).await;
    for (name, path) in pages(&stage) {
        stage.open(&path).await;
        let wide = "document.documentElement.scrollWidth";
        let width = stage.chromium.run(wide).await.as_u64().unwrap();
        stage.chromium.screenshot(&format!("{name}-phone")).await;
        assert!(width <= 360, "{path} is {width} wide");
        let small = "[...document.querySelectorAll('.rail a, button, .button, summary.button')]
            .filter((e) => e.checkVisibility() && e.getBoundingClientRect().height < 43.5)
            .map((e) => e.textContent)";
        assert_eq!(stage.chromium.run(small).await, json!([]), "{path}");
    }
    stage.assert_quiet("a phone");
}

#[tokio::test]
async fn the_switch_of_the_theme_holds() {
    let Some(mut stage) = Stage::set().await else {
        return;
    };
    stage.sign_in().await;
    stage
        .chromium
        .follow("document.querySelector('.themes button[value=dark]').click()")
        .await;
    assert_eq!(stage.chromium.path().await, "/console/deliveries");
    let theme = "document.documentElement.dataset.theme";
    assert_eq!(stage.chromium.run(theme).await, json!("dark"));
    stage.open("/console/events").await;
    assert_eq!(stage.chromium.run(theme).await, json!("dark"));
    stage.assert_quiet("the switch");
}

#[tokio::test]
async fn the_first_page_weighs_at_most_60_kb_and_the_next_a_quarter_of_it() {
    let Some(mut stage) = Stage::set().await else {
        return;
    };
    stage.sign_in().await;
    let cache = |off| json!({"cacheDisabled": off});
    stage
        .chromium
        .call("Network.setCacheDisabled", cache(true))
        .await;
    stage.open("/console/deliveries").await;
    let weight = "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
        .reduce((sum, one) => sum + one.transferSize, 0)";
    let first = stage.chromium.run(weight).await.as_u64().unwrap();
    assert!((10_000..=60_000).contains(&first), "{first}");
    stage
        .chromium
        .call("Network.setCacheDisabled", cache(false))
        .await;
    stage.open("/console/deliveries").await;
    stage.open("/console/deliveries").await;
    let next = stage.chromium.run(weight).await.as_u64().unwrap();
    println!("the first page weighs {first} bytes, the next {next}");
    assert!(next <= 15_000, "{next}");
}

/// The README's pictures, of at most so many bytes.
const PICTURES: [&str; 2] = ["overview", "delivery"];
const HEAVIEST: usize = 200_000;

/// With WALHOOK_PICTURES=1 they are made again.
#[tokio::test]
async fn the_readme_shows_pages_as_they_are() {
    let Some(mut stage) = Stage::set().await else {
        return;
    };
    let token = stage.api.token("acme").await;
    let list = stage.api.get("/subscriptions", &token).await.expect(200);
    for subscription in list["data"].as_array().unwrap() {
        if subscription["description"] == HOSTILE {
            let path = format!("/subscriptions/{}", id(subscription));
            let change =
                json!({"description": "Analytics", "url": "https://analytics.acme.example/events"});
            stage.api.patch(&path, &token, change).await.expect(200);
        }
    }
    stage
        .api
        .execute(
            "update webhook_attempts set response_excerpt = '{\"error\":\"invalid signature\"}'
             where http_status = 401",
        )
        .await;
    stage.sign_in().await;
    stage.chromium.prefers("light").await;
    stage.chromium.size(1200, 900).await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/docs/images");
    let readme = include_str!("../../README.md");
    for picture in PICTURES {
        let pages = pages(&stage);
        let (_, path) = pages.iter().find(|(name, _)| *name == picture).unwrap();
        stage.open(path).await;
        if picture == "overview" {
            let live = "document.querySelector('#live').textContent === 'live ●'";
            stage.chromium.until(live).await;
        }
        let shot = stage.chromium.picture().await;
        let file = folder.join(format!("{picture}.png"));
        if std::env::var_os("WALHOOK_PICTURES").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&file, &shot).unwrap();
        }
        let kept = std::fs::read(&file).unwrap();
        for bytes in [&shot, &kept] {
            assert!(bytes.starts_with(b"\x89PNG"), "{picture}");
            assert!(bytes.len() <= HEAVIEST, "{picture}: {} bytes", bytes.len());
            // Of the same size as it is seen now.
            assert_eq!(bytes[16..24], shot[16..24], "{picture}");
        }
        assert!(
            readme.contains(&format!("(src/docs/images/{picture}.png)")),
            "the README does not show {picture}.png"
        );
    }
    stage.assert_quiet("the README's pictures");
}
