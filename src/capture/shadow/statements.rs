//! The shadow's statements, prepared once a session.

use tokio_postgres::Statement;

use crate::conninfo::Client;

pub(super) struct Statements {
    /// Prepared on the connection that reads.
    pub(super) look_up: Statement,
    pub(super) clear: Statement,
    pub(super) drop_table: Statement,
    pub(super) update_table: Statement,
    pub(super) activate_rule: Statement,
}

impl Statements {
    pub(super) async fn prepare(
        client: &Client,
        reader: &Client,
    ) -> Result<Self, tokio_postgres::Error> {
        let prepare = |sql: &'static str| client.prepare(sql);
        Ok(Statements {
            look_up: reader
                .prepare(include_str!(
                    "../../../sql/queries/capture/shadow/look_up.sql"
                ))
                .await?,
            clear: prepare(include_str!(
                "../../../sql/queries/capture/shadow/clear.sql"
            ))
            .await?,
            drop_table: prepare(include_str!(
                "../../../sql/queries/capture/shadow/drop_table.sql"
            ))
            .await?,
            update_table: prepare(include_str!(
                "../../../sql/queries/capture/shadow/update_table.sql"
            ))
            .await?,
            activate_rule: prepare(include_str!(
                "../../../sql/queries/capture/shadow/activate_rule.sql"
            ))
            .await?,
        })
    }
}
