//! Who may create in the store's schema: sessions with the store's rights resolve names there.

use anyhow::Context;

use super::finding::Finding;
use crate::conninfo::Client;
use crate::db::quote_identifier;

/// A role that may create in the store's schema and is neither ours nor a superuser.
#[derive(Clone, Debug)]
pub(super) struct Creator {
    /// `None`: everybody.
    grantee: Option<String>,
    /// The schema belongs to it, and no grant is needed.
    owner: bool,
}

/// Stands for the present owner of the database.
const DATABASE_OWNER: &str = "pg_database_owner";

pub(super) async fn read(client: &Client, schema: &str) -> anyhow::Result<Vec<Creator>> {
    let rows = client
        .query(
            include_str!("../../sql/queries/preflight/store_creators.sql"),
            &[&schema],
        )
        .await
        .context("read who may create in the store's schema")?;
    let creator = |row: &tokio_postgres::Row| Creator {
        grantee: row.get("grantee"),
        owner: row.get("is_owner"),
    };
    Ok(rows.iter().map(creator).collect())
}

impl Creator {
    /// `login`: the store's role.
    pub(super) fn finding(&self, schema: &str, login: &str) -> Finding {
        let quoted = quote_identifier(schema);
        let who = match &self.grantee {
            None => "everybody".to_owned(),
            Some(grantee) => format!("the role `{grantee}`"),
        };
        let finding = Finding::failure(
            format!("{who} may create in the store's schema `{schema}`"),
            "walhook looks names up there with the store's rights, and would run what is planted: \
             the schema is the store's role's alone; store.schema names another",
        );
        match &self.grantee {
            Some(grantee) if self.owner && grantee == DATABASE_OWNER => finding,
            Some(_) if self.owner => finding.mend(format!(
                "alter schema {quoted} owner to {};",
                quote_identifier(login)
            )),
            Some(grantee) => finding.mend(format!(
                "revoke create on schema {quoted} from {} cascade;",
                quote_identifier(grantee)
            )),
            None => finding.mend(format!(
                "revoke create on schema {quoted} from public cascade;"
            )),
        }
    }
}
