//! Every missing right is found by `check`, with the statement that gives it.

use serde_json::Value;

use crate::harness::command::Project;
use crate::harness::{TestDatabase, connect, start_postgres};

use super::check::{failures_with_mends, of_level, version};
use super::least_privilege::{psql, url_as};
use super::{PAYMENT_RULE, PAYMENTS};

/// A rule that reads the old values of one column.
const PAID_RULE: &str = "
[[events]]
type = 'payment.paid'
table = 'public.payments'
on = ['update']
when = \"became(status = 'paid')\"
[events.data]
status = 'status'
";

/// An installation under the roles that `setup --print-sql` makes.
struct LeastPrivilege {
    database: TestDatabase,
    project: Project,
    capture: String,
    store: String,
}

impl LeastPrivilege {
    async fn create(rule: &str) -> Self {
        let database = TestDatabase::create().await;
        // What everybody may do by default would hide what is not granted.
        let tables = format!(
            "{PAYMENTS}; revoke connect on database {} from public",
            database.name
        );
        database.client.batch_execute(&tables).await.unwrap();
        let (capture, store) = (
            format!("capture_{}", database.name),
            format!("store_{}", database.name),
        );
        let config = format!(
            "{}[store]\nurl = '{}'\n",
            Project::config(&database, &url_as(&database, &capture), rule),
            url_as(&database, &store)
        );
        let project = Project::new(&config);
        let printed = project.walhook(&["setup", "--print-sql"]).await.exits(0);
        psql(&database, &printed.out).await;
        project.walhook(&["check"]).await.exits(0);
        LeastPrivilege {
            database,
            project,
            capture,
            store,
        }
    }

    async fn check(&self) -> Value {
        self.project.walhook(&["check", "--json"]).await.json()
    }

    /// Takes a right away: `check` names it, and its statements give it back.
    async fn lacks(&self, taken: &str, says: &str) {
        self.database.client.batch_execute(taken).await.unwrap();
        let (answer, setup) = tokio::join!(self.check(), self.project.walhook(&["setup"]));
        let failures = of_level(&answer, "failure").join("\n");
        assert!(failures.contains(says), "{taken}:\n{failures}");
        setup.exits(1);
        for (_, mend) in failures_with_mends(&answer) {
            for statement in mend {
                let fixed = self.database.client.batch_execute(&statement).await;
                assert!(fixed.is_ok(), "{taken}: {statement}: {fixed:?}");
            }
        }
        let left = of_level(&self.check().await, "failure");
        assert!(left.is_empty(), "{taken}: {left:#?}");
    }
}

impl LeastPrivilege {
    /// Each other role that may act as the tenant role, or create in the store's schema, is named.
    async fn is_shared_with_nobody(&self) {
        let tenant = self.database.tenant_role();
        let (stranger, group) = (
            format!("stranger_{}", self.database.name),
            format!("group_{}", self.database.name),
        );
        let made = format!(
            "do $$ begin create role {stranger} login; create role {group}; grant {group} to {stranger};
             exception when duplicate_object then null; end $$"
        );
        self.database.client.batch_execute(&made).await.unwrap();
        let is_member = |role: &str| format!("the role `{role}` is a member of the tenant role");
        self.lacks(
            &format!("grant {tenant} to {stranger}"),
            &is_member(&stranger),
        )
        .await;
        let through = format!(
            "{} `{tenant}`, and through it `{stranger}`",
            is_member(&group)
        );
        self.lacks(&format!("grant {tenant} to {group}"), &through)
            .await;
        self.lacks(&format!("alter role {tenant} login"), "may log in")
            .await;
        self.lacks(&format!("alter role {tenant} bypassrls"), "may log in")
            .await;
        let may_create = "may create in the store's schema";
        for taken in [
            "grant create on schema walhook to public".to_owned(),
            format!("grant create on schema walhook to {stranger}"),
        ] {
            self.lacks(&taken, may_create).await;
        }
        // An administrator may be a member of the store's own role: it is said.
        let store = &self.store;
        let joined = format!("grant {store} to {stranger}");
        self.database.client.batch_execute(&joined).await.unwrap();
        let warnings = of_level(&self.check().await, "warning").join("\n");
        assert!(
            warnings.contains(&format!(
                "the role `{stranger}` is a member of the store's role"
            )),
            "{warnings}"
        );
        let left = format!("revoke {store} from {stranger}");
        self.database.client.batch_execute(&left).await.unwrap();
    }
}

#[tokio::test]
async fn each_right_that_is_missing_before_setup_is_named_and_given_by_its_sql() {
    let it = LeastPrivilege::create(PAID_RULE).await;
    let (capture, store, name) = (&it.capture, &it.store, &it.database.name);
    it.lacks(
        &format!("alter role {capture} nologin"),
        "the source cannot be read",
    )
    .await;
    it.lacks(
        &format!("alter role {store} nologin"),
        "the store cannot be read",
    )
    .await;
    let connect = format!("revoke connect on database {name} from");
    it.lacks(&format!("{connect} {capture}"), "the source cannot be read")
        .await;
    it.lacks(&format!("{connect} {store}"), "the store cannot be read")
        .await;
    it.lacks(
        &format!("alter role {capture} noreplication"),
        "no right to REPLICATION",
    )
    .await;
    it.lacks(
        &format!("revoke select on payments from {capture}"),
        "may not read public.payments",
    )
    .await;
    // By column: all but the one that the rule watches.
    let narrowed = format!(
        "revoke select on payments from {capture}; revoke select (id, tenant_id, status) on payments from {capture};
         grant select (id, tenant_id) on payments to {capture}"
    );
    it.lacks(&narrowed, "may not read public.payments").await;
    it.lacks(
        "alter table payments enable row level security",
        "row-level security hides rows",
    )
    .await;
    it.lacks(
        "alter schema walhook owner to postgres",
        "may not create in the schema",
    )
    .await;
    it.lacks("drop schema walhook", "may not create it").await;
    let tenant = it.database.tenant_role();
    let no_member = format!("no member of `{tenant}`");
    it.lacks(&format!("revoke {tenant} from {store}"), &no_member)
        .await;
    if version(&it.database).await >= 160_000 {
        // A membership that does not let it become the role is none.
        let held = format!("grant {tenant} to {store} with set false");
        it.lacks(&held, &no_member).await;
    }
    it.lacks(&format!("drop role {tenant}"), "does not exist")
        .await;
    it.is_shared_with_nobody().await;
    it.lacks(
        &format!("alter schema walhook owner to stranger_{name}"),
        "may create in the store's schema",
    )
    .await;
    it.lacks("drop publication walhook", "does not exist").await;
    it.lacks(
        "alter publication walhook set (publish = 'insert')",
        "does not publish all",
    )
    .await;
    it.project.walhook(&["setup"]).await.exits(0);
    it.is_shared_with_nobody().await;
    let elder = format!(
        "create role elder_{name}; alter table walhook.replication_progress owner to elder_{name}"
    );
    it.lacks(&elder, &format!("belong to the role `elder_{name}`"))
        .await;
    it.project
        .walhook(&["check"])
        .await
        .exits(0)
        .says("no failures");
}

#[tokio::test]
async fn a_server_without_room_for_us_is_named() {
    let server =
        start_postgres(&[("max_wal_senders", "0"), ("max_replication_slots", "1")]).unwrap();
    let database = TestDatabase::create_on(&server).await;
    database.client.batch_execute(PAYMENTS).await.unwrap();
    let taken = "select pg_create_logical_replication_slot('another', 'test_decoding')";
    database.client.batch_execute(taken).await.unwrap();
    let project = Project::of(&database, PAYMENT_RULE);
    let answer = project.walhook(&["check"]).await.exits(1);
    answer
        .says("all 0 walsenders are in use")
        .says("alter system set max_wal_senders")
        .says("all 1 slots are in use")
        .says("alter system set max_replication_slots");
    project
        .walhook(&["setup"])
        .await
        .exits(1)
        .says("nothing was changed");
}

#[tokio::test]
async fn a_line_of_pg_hba_that_refuses_us_is_told_from_a_missing_right() {
    let server = start_postgres(&[]).unwrap();
    let database = TestDatabase::create_on(&server).await;
    let role = "create role refused login replication";
    database
        .client
        .batch_execute(&format!("{PAYMENTS}; {role}"))
        .await
        .unwrap();
    let hba = server.data_directory().join("pg_hba.conf");
    let lines = std::fs::read_to_string(&hba).unwrap();
    std::fs::write(
        &hba,
        format!("host all refused 127.0.0.1/32 reject\n{lines}"),
    )
    .unwrap();
    connect(&server.url("postgres"))
        .await
        .batch_execute("select pg_reload_conf()")
        .await
        .unwrap();
    let project = Project::new(&Project::config(
        &database,
        &url_as(&database, "refused"),
        PAYMENT_RULE,
    ));
    project
        .walhook(&["check"])
        .await
        .exits(1)
        .says("pg_hba.conf")
        .says(&format!("host \"{}\" \"refused\"", database.name));
}
