//! How many steps and seconds people need, over all of walhook: a database, its WAL, an endpoint
//! that answers, and a browser. What is printed is what it took.

use std::time::{Duration, Instant};

use standardwebhooks::Webhook;

use crate::chromium::Chromium;
use crate::harness::operated::Operated;
use crate::harness::receiver::{Receiver, status};
use crate::harness::walhook::{Installation, ORDER_RULES, ORDERS};

/// A person with a mouse and a keyboard.
struct Person {
    chromium: Chromium,
    clicks: usize,
    inputs: usize,
    began: Instant,
}

/// What a way may take at most.
struct Most {
    clicks: usize,
    inputs: usize,
}

impl Person {
    /// A click that leads to another page.
    async fn click(&mut self, selector: &str) {
        let script = format!("document.querySelector({selector:?}).click()");
        self.chromium.follow(&script).await;
        self.clicks += 1;
    }

    async fn fill(&mut self, selector: &str, text: &str) {
        let focus = format!("document.querySelector({selector:?}).focus()");
        self.chromium.run(&focus).await;
        let inserted = serde_json::json!({ "text": text });
        self.chromium.call("Input.insertText", inserted).await;
        self.inputs += 1;
    }

    async fn sees(&mut self, text: &str) {
        let script = format!("document.body.innerText.includes({text:?})");
        self.chromium.until(&script).await;
    }

    fn begin(&mut self) {
        (self.clicks, self.inputs, self.began) = (0, 0, Instant::now());
    }

    #[track_caller]
    fn took(&self, what: &str, most: &Most) {
        let seconds = self.began.elapsed();
        println!(
            "{what}: {} clicks, {} inputs, {:.1} s",
            self.clicks,
            self.inputs,
            seconds.as_secs_f64()
        );
        assert!(self.clicks <= most.clicks, "{what}: {} clicks", self.clicks);
        assert!(self.inputs <= most.inputs, "{what}: {} inputs", self.inputs);
        assert!(seconds <= Duration::from_secs(60), "{what}: {seconds:?}");
    }
}

#[tokio::test]
async fn what_people_come_for_takes_few_steps() {
    let Some(chromium) = Chromium::start().await else {
        return;
    };
    let settings = "[delivery]\nretry_schedule = []";
    let operated = Operated::start(Installation::create(ORDERS, ORDER_RULES, settings).await);
    operated.wait_ready(200, &[]).await;
    let receiver = Receiver::start().await;
    let link = operated.walhook(&["portal-link", "acme"]).await.exits(0);
    let mut person = Person {
        chromium,
        clicks: 0,
        inputs: 0,
        began: Instant::now(),
    };

    // The first endpoint, and a test that it verifies.
    person.chromium.open(link.out.trim()).await;
    person.sees("You have no endpoint yet").await;
    person.click("main a[href='/console/endpoints/new']").await;
    person.fill("input[name=url]", &receiver.url("/hook")).await;
    let all = "document.querySelector('input[name=events][value=\"*\"]').checked = true";
    person.chromium.run(all).await;
    person.inputs += 1;
    person.click("main form.questions > button.first").await;
    let secret = "document.querySelector('#secret').textContent";
    let secret = person.chromium.run(secret).await;
    person.click("main a.button.first").await;
    let endpoint = person.chromium.path().await;
    person.click("main form[action$='/test'] button").await;
    person.sees("delivered").await;
    let most = Most {
        clicks: 4,
        inputs: 6,
    };
    person.took("first endpoint and signed test", &most);
    let test = receiver.wait_for(1).await.remove(0);
    let webhook = Webhook::new(secret.as_str().unwrap().trim()).unwrap();
    webhook.verify(&test.body, &test.headers).unwrap();

    // It fails: from the first page to the cause.
    receiver.answer(|_, _| status(503));
    operated
        .sql("insert into orders (tenant_id, status) values ('acme', 'new'), ('acme', 'new')")
        .await;
    receiver.wait_for(3).await;
    person
        .chromium
        .open(&operated.url("/console/overview"))
        .await;
    person.sees("503 Service Unavailable").await;
    person.begin();
    person
        .click("table a[href^='/console/deliveries/dlv_']")
        .await;
    person.sees("What to do.").await;
    person.took(
        "from a failing endpoint to the cause",
        &Most {
            clicks: 2,
            inputs: 0,
        },
    );

    // The cause is gone: all is sent again, and how much that is was known before.
    receiver.answer(|_, _| status(200));
    person.begin();
    person.click(".rail a[href='/console/recover']").await;
    person.click(".questions button").await;
    person.sees("Send 2 deliveries again").await;
    person.click(".preview form button").await;
    person.took(
        "from the cause to all sent again",
        &Most {
            clicks: 4,
            inputs: 0,
        },
    );
    receiver.wait_for(5).await;

    // The key of a row leads to its delivery, by one paste.
    person.begin();
    person.fill("#q", "2").await;
    let search = "document.querySelector('#q').form.requestSubmit()";
    person.chromium.follow(search).await;
    person.sees("order.created").await;
    let rows = "document.querySelectorAll('[data-row]').length === 1";
    person.chromium.until(rows).await;
    person.took(
        "from a row's key to its delivery",
        &Most {
            clicks: 0,
            inputs: 1,
        },
    );

    // Why one was not sent: the endpoint is paused when it comes.
    person.chromium.open(&operated.url(&endpoint)).await;
    let pause = "document.querySelector(\"form[action$='/pause'] button\").click()";
    person.chromium.follow(pause).await;
    operated
        .sql("insert into orders (tenant_id, status) values ('acme', 'new')")
        .await;
    let page = operated.url("/console/events");
    person.chromium.open(&page).await;
    let has_come = "!!document.querySelector('.newer') ||
        document.body.innerText.includes('nobody was to get it')";
    person.chromium.until(has_come).await;
    person
        .chromium
        .open(&operated.url("/console/overview"))
        .await;
    person.begin();
    person.click(".rail a[href='/console/events']").await;
    person.click("[data-row] a").await;
    person.sees("disabled at the time").await;
    person.took(
        "why it was not sent",
        &Most {
            clicks: 3,
            inputs: 0,
        },
    );
}
