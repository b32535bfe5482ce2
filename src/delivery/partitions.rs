//! Day partitions of events, deliveries and attempts. There is no default partition,
//! so a day must exist before a row of it is inserted.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use uuid::Uuid;

use crate::conninfo::Client;
use crate::event::{id_floor, id_milliseconds};

pub const DAY_MILLISECONDS: u64 = 86_400_000;

/// The partitioned tables, each with its partitions' storage parameters: deliveries
/// keep room for the HOT update of those that do not succeed before they are written.
const TABLES: [(&str, &str); 3] = [
    ("webhook_events", ""),
    ("webhook_deliveries", "with (fillfactor = 90)"),
    ("webhook_attempts", ""),
];

/// A day of Unix time (UTC): its number since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub u64);

impl Day {
    pub fn of_id(id: Uuid) -> Self {
        Day(id_milliseconds(id) / DAY_MILLISECONDS)
    }

    pub fn of(at: Timestamp) -> Self {
        Day(crate::event::milliseconds(at) / DAY_MILLISECONDS)
    }

    /// The smallest id of the day.
    pub fn floor(self) -> Uuid {
        id_floor(self.0 * DAY_MILLISECONDS)
    }

    pub fn start(self) -> Timestamp {
        let milliseconds = i64::try_from(self.0.saturating_mul(DAY_MILLISECONDS));
        let start = milliseconds.map(Timestamp::from_millisecond);
        start.ok().and_then(Result::ok).unwrap_or(Timestamp::MAX)
    }

    pub fn next(self) -> Self {
        Day(self.0 + 1)
    }

    /// As partitions are named: `20261123`.
    pub fn suffix(self) -> String {
        let date = Date::constant(1970, 1, 1);
        let days = i64::try_from(self.0).unwrap_or(i64::MAX);
        match date.checked_add(days.min(2_900_000).days()) {
            Ok(date) => date.strftime("%Y%m%d").to_string(),
            Err(_) => format!("day{}", self.0),
        }
    }

    fn parse(suffix: &str) -> Option<Self> {
        let date = Date::strptime("%Y%m%d", suffix).ok()?;
        let at = date.to_zoned(TimeZone::UTC).ok()?.timestamp();
        Some(Day::of(at))
    }
}

/// Remembers which days exist, so that an enqueue asks the catalog once a day.
#[derive(Default)]
pub struct Partitions {
    known: Mutex<HashSet<Day>>,
}

impl Partitions {
    /// Creates the days that are missing among those of `ids`. Outside of any
    /// transaction: another process may be creating the same day.
    pub async fn ensure(
        &self,
        client: &Client,
        ids: impl Iterator<Item = Uuid>,
    ) -> anyhow::Result<()> {
        let missing: HashSet<Day> = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            ids.map(Day::of_id)
                .filter(|day| !known.contains(day))
                .collect()
        };
        for day in missing {
            create(client, day).await?;
            self.known
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(day);
        }
        Ok(())
    }

    /// A day that was known is gone: retention has dropped it.
    pub fn forget(&self) {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

/// Creates the days of `ids` where they are missing.
pub async fn ensure(client: &Client, ids: impl Iterator<Item = Uuid>) -> anyhow::Result<()> {
    Partitions::default().ensure(client, ids).await
}

/// Creates one day of every table. ATTACH takes a weaker lock on the parent than
/// CREATE … PARTITION OF, so that readers and writers go on meanwhile.
async fn create(client: &Client, day: Day) -> anyhow::Result<()> {
    let (from, to) = (day.floor(), day.next().floor());
    let mut sql = String::from(include_str!(
        "../../sql/queries/delivery/begin_partition_change.sql"
    ));
    for (table, storage) in TABLES {
        let partition = format!("{table}_{}", day.suffix());
        sql.push_str(&format!(
            "do $$ begin if to_regclass('{partition}') is null then \
             create table {partition} (like {table} including defaults including constraints) {storage}; \
             alter table {table} attach partition {partition} for values from ('{from}') to ('{to}'); \
             end if; end $$;\n"
        ));
    }
    sql.push_str("commit;");
    let created = client.batch_execute(&sql).await;
    if created.is_err() {
        client
            .batch_execute("rollback")
            .await
            .context("roll back")?;
    }
    created.with_context(|| format!("create the partitions of day {}", day.suffix()))
}

/// The days that exist, oldest first.
pub async fn existing(client: &Client) -> anyhow::Result<Vec<Day>> {
    let rows = client
        .query(
            include_str!("../../sql/queries/delivery/list_day_partitions.sql"),
            &[],
        )
        .await
        .context("list the day partitions")?;
    let suffixes = rows.iter().map(|row| row.get::<_, String>(0));
    Ok(suffixes.filter_map(|suffix| Day::parse(&suffix)).collect())
}

/// Drops a day, its failed deliveries included. Answers false, and drops nothing,
/// where a delivery of that day still waits to be sent.
pub async fn drop_day(client: &Client, day: Day) -> anyhow::Result<bool> {
    // First without locks: this finds most days that cannot be dropped.
    if has_pending(client, day).await? {
        return Ok(false);
    }
    let dropped = drop_unless_pending(client, day).await;
    if !matches!(dropped, Ok(true)) {
        client
            .batch_execute("rollback")
            .await
            .context("roll back")?;
    }
    dropped.with_context(|| format!("drop the partitions of day {}", day.suffix()))
}

/// Leaves its transaction open where it does not answer true.
async fn drop_unless_pending(client: &Client, day: Day) -> anyhow::Result<bool> {
    let partitions = TABLES.map(|(table, _)| format!("{table}_{}", day.suffix()));
    let mut sql = String::from(include_str!(
        "../../sql/queries/delivery/begin_partition_change.sql"
    ));
    // A retry or replay of that day's deliveries reads these tables in its transaction: it has
    // either committed, and the check below sees it, or it waits until the day is gone.
    for partition in &partitions {
        sql.push_str(&format!(
            "do $$ begin if to_regclass('{partition}') is not null then \
             lock table {partition} in access exclusive mode; end if; end $$;\n"
        ));
    }
    client.batch_execute(&sql).await?;
    if has_pending(client, day).await? {
        return Ok(false);
    }
    let (from, to) = (day.floor(), day.next().floor());
    let mut sql = format!(
        "delete from delivery_schedule \
         where delivery_id >= '{from}' and delivery_id < '{to}' and status = 'failed';\n"
    );
    for partition in &partitions {
        sql.push_str(&format!("drop table if exists {partition};\n"));
    }
    sql.push_str("commit;");
    client.batch_execute(&sql).await?;
    Ok(true)
}

/// Whether a delivery of that day still waits to be sent.
async fn has_pending(client: &Client, day: Day) -> anyhow::Result<bool> {
    let row = client
        .query_one(
            include_str!("../../sql/queries/delivery/day_has_pending.sql"),
            &[&day.floor(), &day.next().floor()],
        )
        .await
        .context("look for pending deliveries of a day")?;
    Ok(row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_named_by_its_date_and_bounded_by_ids() {
        let day = Day::of("2026-11-23T23:59:59.999Z".parse().unwrap());
        assert_eq!(day.suffix(), "20261123");
        assert_eq!(Day::parse("20261123"), Some(day));
        assert_eq!(Day::of_id(day.floor()), day);
        assert_eq!(day.next().suffix(), "20261124");
        assert_eq!(Day(0).suffix(), "19700101");
    }
}
