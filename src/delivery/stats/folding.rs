//! What is old is kept in less detail, and at last forgotten.

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};

use crate::db::Store;
use crate::delivery::pruner::in_pieces;

/// For so long minutes are kept, and until their hour is over: at most 130 rows of a
/// subscription, of which a list reads fifty …
const MINUTES: SignedDuration = SignedDuration::from_hours(1);
/// … hours: at most 360 …
const HOURS: SignedDuration = SignedDuration::from_hours(15 * 24);
/// … and days: at most 400, so that a year can be compared with the one before.
const DAYS: SignedDuration = SignedDuration::from_hours(400 * 24);

/// Folds minutes into hours and hours into days, and forgets old days, as of `now`.
pub async fn fold(store: &Store, now: Timestamp) -> anyhow::Result<()> {
    let sql = include_str!("../../../sql/queries/delivery/fold_stats.sql");
    let before = |age: SignedDuration| now.checked_sub(age).unwrap_or(Timestamp::UNIX_EPOCH);
    let mut done = Ok(());
    for (from, into, age) in [(1_i32, 60_i32, MINUTES), (60, 1440, HOURS)] {
        let folded = in_pieces(store, sql, &[&from, &into, &before(age)]).await;
        done = done.and(folded.context("fold statistics"));
    }
    let sql = include_str!("../../../sql/queries/delivery/forget_stats.sql");
    let forgotten = in_pieces(store, sql, &[&before(DAYS)]).await;
    done.and(forgotten.context("forget statistics"))
}
