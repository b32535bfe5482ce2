//! `walhook replay`: stored events once more.

use std::collections::BTreeSet;

use crate::backfill::command;
use crate::harness::command::Answer;
use crate::harness::receiver::{Receiver, Request};
use crate::harness::walhook::Installation;

async fn replay(walhook: &Installation, arguments: &[&str]) -> Answer {
    command(walhook, "replay", arguments).await
}

fn ids(requests: &[Request]) -> BTreeSet<String> {
    let ids = requests.iter().map(|request| request.id().to_owned());
    ids.collect()
}

#[tokio::test]
async fn stored_events_are_sent_again_by_time_type_and_place_in_the_log() {
    let walhook = Installation::of_orders().await;
    let receiver = Receiver::start().await;
    let subscription = walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let other = walhook
        .subscribe("acme", &receiver.url("/other"), &["*"])
        .await;
    let running = walhook.start();
    let application = &walhook.database.client;
    for _ in 0..3 {
        application
            .batch_execute("insert into orders (tenant_id, status) values ('acme', 'new')")
            .await
            .unwrap();
    }
    application
        .batch_execute("update orders set status = 'paid' where id = 2")
        .await
        .unwrap();
    receiver.wait_for(8).await;
    walhook
        .wait_for("select count(*) = 8 and bool_and(status = 'delivered') from webhook_deliveries")
        .await;
    let first = receiver.of("/");
    let to = format!("sub_{}", subscription.id);
    let to = ["--subscription", to.as_str()];
    let store = walhook.store.get().await.unwrap();
    let places = store
        .query(
            "select commit_lsn::text, occurred_at::text from webhook_events order by commit_lsn",
            &[],
        )
        .await
        .unwrap();
    let lsn = |place: usize| places[place].get::<_, String>(0);
    let time = |place: usize| places[place].get::<_, String>(1).replace(' ', "T");
    let (second, third, at) = (lsn(1), lsn(2), time(1));

    let mut sent = 4;
    for (arguments, expected) in [
        (vec!["--since", "1h"], 4),
        (vec!["--since", &at], 3),
        (vec!["--since", "1h", "--until", &at], 1),
        (vec!["--since", "1h", "--event", "order.paid"], 1),
        (vec!["--from-lsn", &second], 3),
        (vec!["--from-lsn", &second, "--to-lsn", &third], 2),
        (vec!["--from-lsn", &second, "--event", "order.created"], 2),
    ] {
        let dry = [&to[..], &arguments, &["--dry-run"]].concat();
        let told = replay(&walhook, &dry).await.exits(0);
        told.says(&format!("{expected} events would be sent; nothing is"));
        let told = replay(&walhook, &[&to[..], &arguments].concat())
            .await
            .exits(0);
        let told = told.says(&format!("{expected} deliveries are due now, as replay "));
        sent += expected;
        let requests = receiver.wait_for_of("/", sent).await;
        assert_eq!(requests.len(), sent, "{arguments:?}");
        let id = told.out.trim().rsplit(' ').next().unwrap().to_owned();
        let marked = format!("select count(*) from webhook_deliveries where replay_id = '{id}'");
        assert_eq!(
            walhook.count(&marked).await,
            i64::try_from(expected).unwrap()
        );
    }
    running.stop().await;
    let requests = receiver.of("/");
    assert_eq!(ids(&requests), ids(&first), "each under its own id");
    for request in &requests {
        subscription.verify(request);
        let same = first.iter().find(|one| one.id() == request.id()).unwrap();
        assert_eq!(request.body, same.body);
    }
    assert_eq!(receiver.of("/other").len(), 4, "{}", other.id);
}

#[tokio::test]
async fn what_cannot_be_replayed_is_refused() {
    let walhook = Installation::of_orders().await;
    let subscription = walhook
        .subscribe("acme", "https://example.com/", &["*"])
        .await;
    let to = format!("sub_{}", subscription.id);
    let nobody = "sub_00000000-0000-0000-0000-000000000000";
    for (arguments, code, reason) in [
        (vec!["--subscription", &to], 2, "say from when"),
        (
            vec!["--subscription", nobody, "--since", "1h"],
            2,
            "there is no subscription sub_0",
        ),
        (
            vec!["--subscription", &to, "--since", "1h", "--until", "2h"],
            2,
            "the range is empty",
        ),
        (
            vec![
                "--subscription",
                &to,
                "--from-lsn",
                "1/2",
                "--to-lsn",
                "1/1",
            ],
            2,
            "the range is empty",
        ),
        (
            vec!["--subscription", &to, "--from-lsn", "12"],
            2,
            "is not an LSN",
        ),
        (
            vec![
                "--subscription",
                &to,
                "--since",
                "1h",
                "--event",
                "order.payed",
            ],
            1,
            "no stored event matches; did you mean `order.paid`?",
        ),
    ] {
        replay(&walhook, &arguments).await.exits(code).says(reason);
    }
    let disable = "update webhook_subscriptions set active = false, disabled_at = now(), disabled_reason = 'x'";
    let store = walhook.store.get().await.unwrap();
    store.batch_execute(disable).await.unwrap();
    let disabled = replay(&walhook, &["--subscription", &to, "--since", "1h"]).await;
    disabled.exits(2).says("is disabled");
}
