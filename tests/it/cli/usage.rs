//! Help, exit codes, and what bad usage and configuration get.

use crate::harness::TestDatabase;
use crate::harness::command::{Project, answer, walhook};

use super::{PAYMENT_RULE, PAYMENTS};

#[tokio::test]
async fn every_command_explains_itself_with_examples() {
    let project = Project::new("");
    let top = project.walhook(&["--help"]).await.exits(0);
    for command in [
        "run",
        "init",
        "check",
        "setup",
        "teardown",
        "token",
        "portal-link",
        "portal-session",
        "listen",
        "status",
        "demo",
        "explain",
        "backfill",
        "replay",
        "parked",
        "rotate-key",
        "adopt-store",
    ] {
        assert!(top.out.contains(&format!("\n  {command} ")), "{command}");
        let help = project.walhook(&[command, "--help"]).await.exits(0);
        assert!(help.out.contains("Examples:"), "{command}:\n{}", help.out);
        assert!(help.out.contains("--config"), "{command}");
    }
    top.says("Exit codes").says("walhook setup");
    project
        .walhook(&["--version"])
        .await
        .exits(0)
        .says(env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn bad_usage_exits_with_2() {
    let project = Project::new("");
    project.walhook(&["chek"]).await.exits(2).says("check");
    project.walhook(&[]).await.exits(2).says("Usage:");
    project
        .walhook(&["run", "--roles", "delivr"])
        .await
        .exits(2)
        .says("`delivr`");
    project
        .walhook(&["token", "create"])
        .await
        .exits(2)
        .says("--tenant");
    let expired = ["token", "create", "--tenant", "a", "--expires", "0s"];
    project.walhook(&expired).await.exits(2);
    let absent = ["check", "--config", "absent.toml"];
    project.walhook(&absent).await.exits(2).says("absent.toml");
}

#[tokio::test]
async fn a_configuration_that_says_nothing_is_told_what_to_say() {
    let project = Project::new(PAYMENT_RULE);
    for command in ["run", "check", "setup", "status"] {
        let answer = project.walhook(&[command]).await.exits(2);
        answer.says("source.url").says("WALHOOK_SOURCE__URL");
    }
    project.write("[source]\nurl = 'postgres://nobody@127.0.0.1:1/none'\n");
    for command in ["run", "check", "setup"] {
        project
            .walhook(&[command])
            .await
            .exits(2)
            .says("[[events]]");
    }
}

#[tokio::test]
async fn a_mistyped_key_is_named_with_its_place_and_the_nearest() {
    let project = Project::new("[source]\nurl = 'postgres://u@127.0.0.1/d'\nslto = 'x'\n");
    let answer = project.walhook(&["check"]).await.exits(2);
    answer.says("walhook.toml:3").says("slto").says("`slot`");
    // The same before and after the command, and by the environment.
    let file = project.file();
    let mut by_variable = walhook();
    by_variable
        .arg("check")
        .env("WALHOOK_CONFIG", &file)
        .current_dir("/");
    answer_says_slot(by_variable).await;
    let mut before = walhook();
    before
        .arg("--config")
        .arg(&file)
        .arg("check")
        .current_dir("/");
    answer_says_slot(before).await;
}

async fn answer_says_slot(mut command: tokio::process::Command) {
    answer(command.output().await.unwrap())
        .exits(2)
        .says("slto");
}

#[tokio::test]
async fn an_unreachable_source_is_named_without_its_password() {
    let project = Project::new(&format!(
        "[source]\nurl = 'postgres://app:topsecret@127.0.0.1:1/none?sslmode=disable'\n{PAYMENT_RULE}"
    ));
    for command in ["check", "setup", "status", "teardown"] {
        let answer = project
            .walhook(&[command])
            .await
            .exits(1)
            .says("app@127.0.0.1:1/none");
        assert!(!answer.out.contains("topsecret") && !answer.err.contains("topsecret"));
    }
}

/// A password that stands in a file of its own is shown as little as one in the URL.
#[tokio::test]
async fn a_url_is_read_from_its_file_and_a_bad_one_is_not_shown() {
    let project = Project::new(&format!("[source]\nurl_file = 'url'\n{PAYMENT_RULE}"));
    let file = project.directory.path().join("url");
    for (content, code, said) in [
        (
            "postgres://app:topsecret@127.0.0.1:1/none?sslmode=disable\n",
            1,
            "app@127.0.0.1:1/none",
        ),
        (
            "postgres://app:topsecret@127.0.0.1:1/none?sslmod=disable",
            2,
            "source.url",
        ),
        ("\n", 2, "walhook.toml:2: source.url_file: `"),
    ] {
        std::fs::write(&file, content).unwrap();
        let mut check = walhook();
        check.arg("--config").arg(project.file()).arg("check");
        let answer = answer(check.current_dir("/").output().await.unwrap());
        let answer = answer.exits(code).says(said);
        assert!(!answer.out.contains("topsecret") && !answer.err.contains("topsecret"));
    }
}

/// Wherever a command is started, it finds the files that the configuration names.
#[tokio::test]
async fn a_relative_key_file_is_beside_the_file_that_names_it() {
    let database = TestDatabase::create().await;
    database.client.batch_execute(PAYMENTS).await.unwrap();
    let project = Project::of(&database, PAYMENT_RULE);
    let elsewhere = tempfile::tempdir().unwrap();
    for command in ["setup", "check"] {
        let mut started = walhook();
        started.arg("--config").arg(project.file()).arg(command);
        let answer = answer(started.current_dir(&elsewhere).output().await.unwrap());
        let key = project.directory.path().join("walhook.key");
        answer.exits(0).says(&format!("`{}`", key.display()));
        assert!(key.exists());
    }
    assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
}

#[tokio::test]
async fn errors_are_json_where_logs_are() {
    let project = Project::new("");
    let answer = project
        .walhook(&["--log-format", "json", "setup"])
        .await
        .exits(2);
    let line: serde_json::Value = serde_json::from_str(answer.err.trim()).unwrap();
    assert_eq!(line["level"], "ERROR");
    assert!(
        line["message"].as_str().unwrap().contains("[[events]]"),
        "{line}"
    );
}

#[tokio::test]
async fn tokens_are_made_listed_and_revoked() {
    let database = TestDatabase::create().await;
    database.client.batch_execute(PAYMENTS).await.unwrap();
    let project = Project::of(&database, PAYMENT_RULE);
    let create = [
        "token",
        "create",
        "--tenant",
        "acme",
        "--name",
        "CI",
        "--expires",
        "90d",
    ];
    project
        .walhook(&create)
        .await
        .exits(1)
        .says("walhook setup");
    project.walhook(&["setup"]).await.exits(0);

    let created = project.walhook(&create).await.exits(0);
    let token = created.out.trim();
    assert!(token.starts_with("whk_") && !token.contains(char::is_whitespace));
    let listed = project
        .walhook(&["token", "list", "--tenant", "acme"])
        .await
        .exits(0)
        .says("CI");
    assert!(!listed.out.contains(token));
    let other = project
        .walhook(&["token", "list", "--tenant", "globex", "--json"])
        .await
        .exits(0);
    assert_eq!(other.json(), serde_json::json!([]));

    let listed = project.walhook(&["token", "list", "--json"]).await.json();
    let id = listed[0]["id"].as_str().unwrap();
    project.walhook(&["token", "revoke", id]).await.exits(0);
    project.walhook(&["token", "revoke", id]).await.exits(1);
    project
        .walhook(&["token", "list"])
        .await
        .exits(0)
        .says("revoked");
}

#[tokio::test]
async fn a_token_for_a_tenant_without_rows_is_made_with_a_remark() {
    let database = TestDatabase::create().await;
    let tables = format!(
        "{PAYMENTS}; create table orders (id int primary key, \"accountId\" bigint);
         insert into payments (tenant_id, status) values ('acme', 'new');
         insert into orders values (1, 7); create table rates (id int primary key)"
    );
    database.client.batch_execute(&tables).await.unwrap();
    let rules = format!(
        "{PAYMENT_RULE}[[events]]\ntype = 'order.created'\ntable = 'orders'\ntenant = '\"accountId\"'\n\
         [[events]]\ntype = 'rate.created'\ntable = 'rates'\ntenant = {{ value = 'all' }}\n"
    );
    let project = Project::of(&database, &rules);
    project.walhook(&["setup"]).await.exits(0);
    let create = async |tenant: &str| {
        let create = ["token", "create", "--tenant", tenant];
        let created = project.walhook(&create).await.exits(0);
        assert!(created.out.starts_with("whk_"), "{}", created.out);
        created
    };
    for tenant in ["acme", "7", "all"] {
        let said = create(tenant).await.err;
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    for tenant in ["acne", "8", "7' or true --"] {
        create(tenant).await.says(&format!(
            "No row has the tenant `{tenant}` yet, in public.payments.tenant_id, public.orders.accountId"
        ));
    }
    create("007").await.says(
        "Rows spell this tenant `7`, in public.orders.accountId, and tenants are compared as text",
    );
    // An expression may be anybody: nothing is said.
    project.write(&format!(
        "{}[defaults]\ntenant = 'lower(tenant_id)'\n",
        Project::config(&database, &database.url, PAYMENT_RULE)
    ));
    let said = create("acne").await.err;
    assert_eq!(said.lines().count(), 1, "{said}");
    // Without a right to read the rows the token is made all the same.
    let role = format!("blind_{}", database.name);
    let login = format!("create role {role} login replication");
    database.client.batch_execute(&login).await.unwrap();
    let url = super::least_privilege::url_as(&database, &role);
    project.write(&format!(
        "{}[store]\nurl = '{}'\n",
        Project::config(&database, &url, PAYMENT_RULE),
        database.url
    ));
    create("acme")
        .await
        .says("Whether any row is this tenant's could not be looked up");
}
