//! `walhook tenant`: the tenants that were met, and nothing left of one that is erased.

use std::process::Command;

use serde_json::json;

use crate::delivery::{Deployed, text};
use crate::harness::command::{Answer, answer, walhook};
use crate::harness::receiver::{Content, Receiver, status};
use crate::harness::walhook::Installation;

async fn run(installation: &Installation, arguments: &[&str]) -> Answer {
    let mut command = walhook();
    command.arg("--config").arg(installation.config_file());
    // The erasure waits for calls that are under way.
    command.env("WALHOOK_API__REQUEST_TIMEOUT", "1s");
    answer(command.args(arguments).output().await.unwrap())
}

/// The store's rows as `pg_dump` writes them: lines, each with the table that it is of.
fn dump(installation: &Installation) -> Vec<(String, String)> {
    let dump = Command::new("pg_dump")
        .args([
            "--schema",
            "walhook",
            "--data-only",
            "--load-via-partition-root",
        ])
        .arg(&installation.database.url)
        .output()
        .unwrap();
    assert!(
        dump.status.success(),
        "{}",
        String::from_utf8_lossy(&dump.stderr)
    );
    let text = String::from_utf8(dump.stdout).unwrap();
    let mut table = String::new();
    let mut lines = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("COPY walhook.") {
            table = rest.split(' ').next().unwrap().to_owned();
        }
        lines.push((table.clone(), line.to_owned()));
    }
    lines
}

/// The tables with a row that holds this.
fn holding(lines: &[(String, String)], value: &str) -> Vec<String> {
    // Bodies are bytes, which a dump writes in hex.
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    let holds = |line: &str| line.contains(value) || line.contains(&hex);
    let mut tables: Vec<String> = lines
        .iter()
        .filter(|(_, line)| holds(line))
        .map(|(table, _)| table.clone())
        .collect();
    tables.dedup();
    tables
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_an_erased_tenant_is_left_but_the_entry_that_says_so() {
    let deployed = Deployed::start("[delivery]\nretry_schedule = ['1h']\n").await;
    let receiver = Receiver::answering(|path, _| {
        let answer = b"answer-of-the-erased".to_vec();
        match path {
            "/kept" => status(200),
            _ => status(500).with_content(Content::Bytes(answer.into())),
        }
    })
    .await;
    let gone = deployed.tenant("gone-4711").await;
    let kept = deployed.tenant("kept-4711").await;
    let url = receiver.url("/erased-endpoint");
    let more = json!({"headers": {"x-erased": "value"}, "description": "words-of-the-erased"});
    let subscription = gone.subscribe_with(&url, more).await;
    kept.subscribe(&receiver.url("/kept")).await;
    for tenant in ["gone-4711", "kept-4711"] {
        deployed
            .execute(&format!(
                "insert into orders (tenant_id, status, note) values ('{tenant}', 'new', 'note-of-{tenant}')"
            ))
            .await;
    }
    let path = format!("/subscriptions/{}", text(&subscription["id"]));
    gone.patch(&path, json!({"url": format!("{url}-moved")}))
        .await;
    gone.post(&format!("{path}/test"), json!({}))
        .await
        .expect(202);
    let walhook = &deployed.walhook;
    walhook
        .wait_for(
            "select (select count(*) from webhook_attempts) >= 2
                and (select count(*) from webhook_deliveries where status = 'delivered') = 1",
        )
        .await;
    let Deployed {
        walhook, processes, ..
    } = deployed;
    for process in processes {
        assert!(process.terminate().success());
    }
    // Backfills by the operator: for the tenant's subscription, with a condition that names it,
    // and one that is no business of the tenant's.
    let subscription_id = &text(&subscription["id"])["sub_".len()..];
    let client = walhook.store.get().await.unwrap();
    client
        .batch_execute(&format!(
            "insert into backfills (id, slot, schema_name, table_name, key_columns, rules, filter,
                 subscription_id, from_lsn, rows_per_second, chunk_rows, estimate, status, finished_at)
             select gen_random_uuid(), 's', 'public', 'orders', '{{id}}', '{{r}}', filter,
                 subscription, '0/1', 1, 1, 0, status, finished
             from (values
                 ($$note = 'words-of-the-erased'$$, '{subscription_id}'::uuid, 'running', null),
                 ($$tenant_id = 'gone-4711'$$, null, 'done', now()),
                 ($$tenant_id = 'gone-47110'$$, null, 'done', now()))
                 as asked (filter, subscription, status, finished);
             insert into audit_log (id, principal_kind, principal, action, after)
             select gen_random_uuid(), 'command', 'x', 'backfill.create', after
             from (values
                 (jsonb_build_object('subscription_id', 'sub_{subscription_id}',
                     'where', $$note = 'words-of-the-erased'$$)),
                 (jsonb_build_object('where', $$tenant_id = 'gone-4711'$$))) as entries (after)"
        ))
        .await
        .unwrap();
    drop(client);

    let listed = run(&walhook, &["tenant", "list", "--json"])
        .await
        .exits(0)
        .json();
    let shown: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (text(&one["tenant_id"]), one["subscriptions"].as_i64()))
        .collect();
    assert_eq!(shown, [("gone-4711", Some(1)), ("kept-4711", Some(1))]);

    let values = [
        "gone-4711",
        "note-of-gone-4711",
        "answer-of-the-erased",
        "words-of-the-erased",
        "/erased-endpoint",
        &text(&subscription["id"])["sub_".len()..],
    ];
    let before = dump(&walhook);
    for value in values {
        assert!(!holding(&before, value).is_empty(), "{value} is in no row");
    }
    let announced = run(&walhook, &["tenant", "erase", "gone-4711"]).await;
    announced
        .exits(1)
        .says("webhook_subscriptions")
        .says("--confirm");
    assert_eq!(dump(&walhook).len(), before.len(), "nothing was erased");

    let confirmed = [
        "tenant",
        "erase",
        "gone-4711",
        "--confirm",
        "--reason",
        "it is over",
    ];
    run(&walhook, &confirmed)
        .await
        .exits(0)
        .says("nothing of it is left");
    let after = dump(&walhook);
    let naming = holding(&after, "'gone-47110'");
    assert_eq!(naming, ["backfills"], "another tenant's condition stays");
    let left = after
        .into_iter()
        .filter(|(_, line)| !line.contains("gone-47110"));
    let after: Vec<(String, String)> = left.collect();
    assert_eq!(holding(&after, values[0]), ["audit_log"]);
    for value in &values[1..] {
        let left = holding(&after, value);
        // That there was a backfill for it, and how many rows it read.
        let expected: &[&str] = match *value == subscription_id {
            true => &["backfills"],
            false => &[],
        };
        assert_eq!(left, expected, "{value}");
    }
    assert!(after.iter().any(|(_, line)| line.contains("it is over")));
    for value in ["note-of-kept-4711", "/kept"] {
        let there = holding(&after, value);
        assert_eq!(there, holding(&before, value), "{value} of another tenant");
    }
    run(&walhook, &["tenant", "list"])
        .await
        .exits(0)
        .says("kept-4711");
    run(&walhook, &["tenant", "erase", "gone-4711"])
        .await
        .exits(0)
        .says("has no row");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_was_interrupted_goes_on_where_it_was() {
    let installation = Installation::of_orders().await;
    installation
        .subscribe("acme", "https://example.com/", &["*"])
        .await;
    let client = installation.store.get().await.unwrap();
    // As it is when the process is killed after the first tables.
    client
        .batch_execute(
            "insert into tenants (tenant_id, erased_at) values ('acme', '2026-01-01');
             delete from webhook_subscriptions",
        )
        .await
        .unwrap();
    let listed = run(&installation, &["tenant", "list"]).await;
    listed.exits(0).says("being erased since 2026-01-01");
    run(&installation, &["tenant", "erase", "acme", "--confirm"])
        .await
        .exits(0);
    for table in ["subscription_versions", "deleted_subscriptions", "tenants"] {
        let count = format!("select count(*) from {table}");
        assert_eq!(installation.count(&count).await, 0, "{table}");
    }
    let entries = "select count(*) from audit_log where action = 'tenant.erase'";
    assert_eq!(installation.count(entries).await, 2, "begun and done");
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_are_known_by_their_events_calls_and_tokens() {
    let deployed = Deployed::start("").await;
    let met = "select string_agg(tenant_id, ' ' order by tenant_id) from tenants";
    deployed.tenant("by-token").await;
    deployed.orders("by-event", 2).await;
    deployed
        .walhook
        .wait_for(&format!("({met}) = 'by-event by-token'"))
        .await;
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_erased_beside_a_walhook_that_goes_on_for_the_others() {
    // The erasure waits for attempts that are under way.
    let deployed = Deployed::start("[delivery]\ntimeout = '1s'\n").await;
    let receiver = Receiver::start().await;
    for tenant in ["gone-4712", "kept-4712"] {
        let tenant = deployed.tenant(tenant).await;
        tenant.subscribe(&receiver.url("/")).await;
    }
    deployed.orders("gone-4712", 3).await;
    deployed.orders("kept-4712", 3).await;
    receiver.wait_for(6).await;
    // Results and counts of the last seconds are in memory still, and are written meanwhile.
    let erased = ["tenant", "erase", "gone-4712", "--confirm"];
    run(&deployed.walhook, &erased).await.exits(0);
    let left = holding(&dump(&deployed.walhook), "gone-4712");
    assert_eq!(left, ["audit_log"]);
    deployed.orders("kept-4712", 1).await;
    receiver.wait_for(7).await;
    deployed.stop();
}
