//! Probes that users ask for: a retry or a test by hand does not wait for the next probe of
//! an open breaker. The request is a row of the store, which the instance that sends to the
//! subscription deletes when it has taken it.

use anyhow::Context;
use uuid::Uuid;

use super::{Claimer, Knowledge};
use crate::db::Connection;
use crate::event::SubscriptionId;

impl Claimer {
    /// Takes the requests for endpoints that are this instance's.
    pub(super) async fn ask_probes(
        &self,
        client: &Connection,
        known: &mut Knowledge,
    ) -> anyhow::Result<()> {
        let sql = include_str!("../../../sql/queries/delivery/list_probe_requests.sql");
        let statement = client.prepare_cached(sql).await?;
        let rows = client
            .query(&statement, &[])
            .await
            .context("list the probes that are asked for")?;
        let asked = rows.iter().map(|row| SubscriptionId(row.get(0)));
        let own = self.dispatcher.ask_probes(asked.collect());
        if own.is_empty() {
            return Ok(());
        }
        for lane in &own {
            known.due.begin_at_front_of(*lane);
        }
        let ids: Vec<Uuid> = own.iter().map(|lane| lane.0).collect();
        client
            .execute(
                include_str!("../../../sql/queries/delivery/take_probe_requests.sql"),
                &[&ids],
            )
            .await
            .context("take the probes that are asked for")?;
        Ok(())
    }
}
