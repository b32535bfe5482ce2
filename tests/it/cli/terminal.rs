//! What rows, names and tenants hold does not steer the operator's terminal.

use ::walhook::db::quote_identifier;

use crate::harness::TestDatabase;
use crate::harness::command::Project;

use super::{PAYMENT_RULE, PAYMENTS};

/// Clears the screen, turns the text around, and passes for a line of ours.
const PLANTED: &str = "x\u{1b}[2J\u{9b}2J\u{202e}\u{2066}\u{61c}\u{200f}\nAll is well.";

#[tokio::test]
async fn what_is_planted_in_names_is_shown_as_escapes() {
    let database = TestDatabase::create().await;
    database.client.batch_execute(PAYMENTS).await.unwrap();
    let project = Project::of(&database, PAYMENT_RULE);
    project.walhook(&["setup"]).await.exits(0);
    let client = &database.client;
    for sql in [
        "insert into walhook.parked_changes (commit_lsn, ordinal, rule, relation, reason, detail, row_key)
         values ('0/1', 3, $1, $1, 'unroutable', $1, $1)",
        "insert into walhook.webhook_subscriptions (id, tenant_id, url, events, secret, secret_hint,
            from_lsn, failing_since, failing_reason, filter, filter_error, filter_failed_at, filter_failures)
         values (gen_random_uuid(), $1, 'https://example.com/', '{*}', '\\x00', 'x', '0/1',
            now() - interval '1 hour', $1, 'x', $1, now(), 1)",
        "insert into walhook.delivery_schedule (delivery_id, subscription_id, tenant_id, event_type, status, due_at)
         values (gen_random_uuid(), gen_random_uuid(), $1, 'x', 'failed', now())",
        "insert into walhook.api_tokens (id, tenant_id, name, hash)
         values (gen_random_uuid(), $1, $1, decode(repeat('00', 32), 'hex'))",
        "insert into walhook.unknown_tenants (tenant_id, event_type, events) values ($1, $1, 1)",
        "insert into walhook.instances (id, hostname, version, roles, low_water)
         values (gen_random_uuid(), $1, $1, array[$1], gen_random_uuid())",
        "insert into walhook.gaps (slot, from_lsn, reason) select slot, '0/1', $1 from walhook.replication_progress",
        "insert into walhook.backfills (id, slot, schema_name, table_name, key_columns, rules, filter,
            from_lsn, rows_per_second, chunk_rows, estimate, waiting, status, error)
         select gen_random_uuid(), slot, 'public', $1, '{id}', array[$1], $1, '0/1', 1, 1, 1, $1,
            'failed', $1 from walhook.replication_progress",
    ] {
        client.execute(sql, &[&PLANTED]).await.unwrap();
    }
    // A published table harms the application, and is named by check and status.
    let table = quote_identifier(PLANTED);
    let publish =
        format!("create table {table} (a int); alter publication walhook add table {table}");
    client.batch_execute(&publish).await.unwrap();
    // What a server answers is told as it is.
    let says = format!(
        "create function public.says() returns boolean language plpgsql as
         $$ begin raise exception using message = convert_from('\\x{}', 'utf8'); end $$",
        PLANTED
            .bytes()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    );
    client.batch_execute(&says).await.unwrap();
    client
        .batch_execute("insert into payments (tenant_id, status) values ('a', 'b')")
        .await
        .unwrap();
    let backfill = [
        "backfill",
        "--table",
        "public.payments",
        "--where",
        "public.says()",
    ];
    for arguments in [
        &["check"][..],
        &["backfill", "--list"],
        &backfill,
        &["status"],
        &["status", "--json"],
        &["parked", "list"],
        &["parked", "list", "--json"],
        &["token", "list"],
        &["token", "list", "--json"],
    ] {
        let answer = project.walhook(arguments).await;
        let text = format!("{}{}", answer.out, answer.err);
        assert!(text.contains("\\u001b[2J"), "{arguments:?}: {text}");
        assert!(text.contains("\\u202e"), "{arguments:?}: {text}");
        for c in text.chars() {
            let steers = (c.is_control() && c != '\n')
                || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            assert!(!steers, "{arguments:?}: {text:?}");
        }
        let forged = text.lines().any(|line| line.starts_with("All is well"));
        assert!(!forged, "{arguments:?}: {text}");
        if arguments.contains(&"--json") {
            assert!(answer.json().to_string().contains("x\\u001b"), "{text}");
        }
    }
}
