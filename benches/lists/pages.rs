//! What is asked for: every list of the API, and every page of the console that lists.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::fill::{self, RARE};

/// One page of one tenant.
pub(crate) struct Asked {
    pub(crate) name: &'static str,
    pub(crate) path: String,
    /// By a session's cookie, not by a token.
    pub(crate) from_console: bool,
}

pub(crate) struct Visitor {
    pub(crate) base: String,
    pub(crate) token: String,
    pub(crate) cookie: String,
    pub(crate) client: reqwest::Client,
}

impl Visitor {
    /// The page and how long it took.
    pub(crate) async fn ask(&self, asked: &Asked) -> anyhow::Result<(Duration, String)> {
        let request = self.client.get(format!("{}{}", self.base, asked.path));
        let request = match asked.from_console {
            true => request.header("cookie", format!("walhook-portal={}", self.cookie)),
            false => request.bearer_auth(&self.token),
        };
        let began = Instant::now();
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        let took = began.elapsed();
        ensure!(
            status.is_success(),
            "{} was answered {status}: {text:.500}",
            asked.path
        );
        Ok((took, text))
    }

    async fn json(&self, path: String) -> anyhow::Result<serde_json::Value> {
        let asked = Asked {
            name: "",
            path,
            from_console: false,
        };
        let (_, text) = self.ask(&asked).await?;
        Ok(serde_json::from_str(&text)?)
    }
}

const API: &str = "/api/v1/tenant/webhooks";

/// All of them. The deep cursors begin ten days back.
pub(crate) async fn all(visitor: &Visitor, tenant: u64) -> anyhow::Result<Vec<Asked>> {
    let endpoint = format!("sub_{}", fill::subscription(tenant, 0));
    let since = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(10 * 24);
    let until = since + jiff::SignedDuration::from_hours(24);
    let list = visitor.json(format!("{API}/deliveries?limit=5")).await?;
    let newest = list["data"][0].clone();
    let text = |name: &str| newest[name].as_str().map(str::to_owned);
    let delivery = text("id").context("the tenant has a delivery")?;
    let event = text("event_id").context("of an event")?;
    let deep = visitor
        .json(format!("{API}/deliveries?limit=1&until={until}"))
        .await?;
    let deep = deep["next_cursor"].as_str().unwrap_or_default().to_owned();
    let deep_events = visitor
        .json(format!("{API}/events?limit=1&until={until}"))
        .await?;
    let deep_events = deep_events["next_cursor"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let api = |name: &'static str, path: String| Asked {
        name,
        path: format!("{API}{path}"),
        from_console: false,
    };
    let console = |name: &'static str, path: String| Asked {
        name,
        path: format!("/console{path}"),
        from_console: true,
    };
    Ok(vec![
        api("deliveries", "/deliveries".to_owned()),
        api(
            "deliveries status=pending",
            "/deliveries?status=pending".to_owned(),
        ),
        api(
            "deliveries status=failed",
            "/deliveries?status=failed".to_owned(),
        ),
        api(
            "deliveries status=in_flight",
            "/deliveries?status=in_flight".to_owned(),
        ),
        api(
            "deliveries status=parked",
            "/deliveries?status=parked".to_owned(),
        ),
        api(
            "deliveries status=delivered",
            "/deliveries?status=delivered".to_owned(),
        ),
        api(
            "deliveries status=cancelled",
            "/deliveries?status=cancelled".to_owned(),
        ),
        api(
            "deliveries endpoint",
            format!("/deliveries?subscription_id={endpoint}"),
        ),
        api(
            "deliveries endpoint, pending",
            format!("/deliveries?subscription_id={endpoint}&status=pending"),
        ),
        api(
            "deliveries endpoint, failed",
            format!("/deliveries?subscription_id={endpoint}&status=failed"),
        ),
        api(
            "deliveries event",
            "/deliveries?event=order.created".to_owned(),
        ),
        api(
            "deliveries event=order.*",
            "/deliveries?event=order.*".to_owned(),
        ),
        api("deliveries rare event", format!("/deliveries?event={RARE}")),
        api(
            "deliveries http_status=500",
            "/deliveries?http_status=500".to_owned(),
        ),
        api(
            "deliveries error=timeout",
            "/deliveries?error=timeout".to_owned(),
        ),
        api(
            "deliveries row_key (none)",
            "/deliveries?row_key=nothing".to_owned(),
        ),
        api(
            "deliveries of a day",
            format!("/deliveries?since={since}&until={until}"),
        ),
        api(
            "deliveries, deep cursor",
            format!("/deliveries?cursor={deep}"),
        ),
        api("delivery", format!("/deliveries/{delivery}")),
        api("events", "/events".to_owned()),
        api("events type", "/events?type=order.created".to_owned()),
        api("events type=order.*", "/events?type=order.*".to_owned()),
        api("events rare type", format!("/events?type={RARE}")),
        api(
            "events row_key (none)",
            "/events?row_key=nothing".to_owned(),
        ),
        api(
            "events of a day",
            format!("/events?since={since}&until={until}"),
        ),
        api(
            "events, deep cursor",
            format!("/events?cursor={deep_events}"),
        ),
        api("event, who got it", format!("/events/{event}")),
        api("event types", "/event-types".to_owned()),
        api("subscriptions", "/subscriptions".to_owned()),
        api("subscription", format!("/subscriptions/{endpoint}")),
        api(
            "subscription's stats",
            format!("/subscriptions/{endpoint}/stats"),
        ),
        api(
            "subscription's history",
            format!("/subscriptions/{endpoint}/history"),
        ),
        api("stats", "/stats".to_owned()),
        api("jobs", "/jobs".to_owned()),
        api("audit", "/audit".to_owned()),
        console("page overview", "/overview".to_owned()),
        console("page deliveries", "/deliveries".to_owned()),
        console(
            "page deliveries, failed",
            "/deliveries?status=failed".to_owned(),
        ),
        console("page delivery", format!("/deliveries/{delivery}")),
        console("page events", "/events".to_owned()),
        console("page event, who got it", format!("/events/{event}")),
        console("page endpoints", "/endpoints".to_owned()),
        console("page endpoint", format!("/endpoints/{endpoint}")),
        console(
            "page endpoint's history",
            format!("/endpoints/{endpoint}/history"),
        ),
        console("page catalogue", "/catalogue".to_owned()),
        console("page recover", "/recover".to_owned()),
        console(
            "page recover, failed 30d",
            "/recover?what=failed&within=30d".to_owned(),
        ),
        console(
            "page recover, pending",
            format!("/recover?what=pending&within=30d&endpoint={endpoint}"),
        ),
        console(
            "page recover, all 24h",
            format!("/recover?what=all&within=24h&endpoint={endpoint}"),
        ),
    ])
}
