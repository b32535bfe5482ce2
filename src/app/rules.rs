//! Rules that fitted their tables once. A typo is an error at start; a table that changes
//! under a rule that was well is not: its changes are parked, with the reason, until the
//! rule is changed too, and capture goes on for everybody else.

use std::collections::HashMap;

use anyhow::Context;

use crate::config::Config;
use crate::db::Store;
use crate::mapping::{RuleSet, file::RuleError};

/// What is wrong with rules, told apart.
pub(super) struct Judged {
    /// Of rules that walhook has never run with as they are now.
    pub(super) new: Vec<RuleError>,
    /// Of rules that fitted until their table changed.
    pub(super) outgrown: Vec<RuleError>,
}

pub(super) async fn judge(
    store: &Store,
    config: &Config,
    errors: Vec<RuleError>,
) -> anyhow::Result<Judged> {
    if errors.is_empty() {
        let (new, outgrown) = Default::default();
        return Ok(Judged { new, outgrown });
    }
    let accepted = accepted(store, &config.source.slot).await?;
    let is_accepted = |error: &RuleError| {
        let rule = config.events.get(error.index);
        rule.is_some_and(|rule| {
            accepted.get(&error.rule) == Some(&rule.fingerprint(&config.defaults))
        })
    };
    let (outgrown, new) = errors.into_iter().partition(is_accepted);
    Ok(Judged { new, outgrown })
}

/// Says which rules' changes will be parked.
pub(super) fn report(outgrown: &[RuleError]) {
    for error in outgrown {
        tracing::error!(
            rule = error.rule,
            key = error.key,
            "the table has changed and the rule does not fit it any more: {}. Its changes are \
             parked; change the rule, and what was parked is mapped by it",
            error.message
        );
    }
}

/// The rules that are new or say something else than when they were accepted.
pub(super) async fn changed(
    store: &Store,
    config: &Config,
    rules: &RuleSet,
) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let accepted = accepted(store, &config.source.slot).await?;
    let named = config.events.iter().zip(0..).filter_map(|(rule, index)| {
        let name = rules.rule_name(index)?.to_owned();
        Some((name, rule.fingerprint(&config.defaults)))
    });
    Ok(named
        .filter(|(name, definition)| accepted.get(name) != Some(definition))
        .collect())
}

/// Keeps on record that these fit, and that what was parked of them has been seen to.
pub(super) async fn accept(
    store: &Store,
    slot: &str,
    rules: &[(String, Vec<u8>)],
) -> anyhow::Result<()> {
    let (names, definitions): (Vec<&str>, Vec<&[u8]>) = rules
        .iter()
        .map(|(name, definition)| (name.as_str(), definition.as_slice()))
        .unzip();
    let query = include_str!("../../sql/queries/app/accept_rules.sql");
    let client = store.get().await?;
    client
        .execute(query, &[&slot, &names, &definitions])
        .await
        .context("record the accepted rules")?;
    Ok(())
}

async fn accepted(store: &Store, slot: &str) -> anyhow::Result<HashMap<String, Vec<u8>>> {
    let query = include_str!("../../sql/queries/app/list_accepted_rules.sql");
    let rows = store.get().await?.query(query, &[&slot]).await;
    let rows = rows.context("read the accepted rules")?;
    let rule = |row: &tokio_postgres::Row| (row.get("rule"), row.get("definition"));
    Ok(rows.iter().map(rule).collect())
}
