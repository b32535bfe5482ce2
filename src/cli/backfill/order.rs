//! What the arguments ask for, checked against the rules, the live table and the store
//! before anything is recorded.

use std::sync::Arc;

use anyhow::Context;
use tokio_postgres::error::SqlState;

use super::Args;
use crate::backfill::job::Order;
use crate::backfill::reader::{Reader, Wanted};
use crate::cli::UsageError;
use crate::config::Config;
use crate::conninfo::Client;
use crate::mapping::file::{nearest, suggestion};
use crate::mapping::{Outline, RuleSet, TableDescription, TableName};
use crate::replication::slot;
use crate::source::{catalog, rights};
use crate::subscription::wish::{self, Wish};
use crate::terminal::tell;

/// An order, and what it was checked with.
pub(super) struct Asked {
    pub(super) order: Order,
    pub(super) outlines: Vec<Outline>,
    pub(super) rules: Arc<RuleSet>,
    pub(super) reader: Reader,
    /// The source.
    pub(super) source: Client,
    pub(super) wishes: Vec<Wish>,
}

pub(super) async fn resolve(args: &Args, config: &Config, store: &Client) -> anyhow::Result<Asked> {
    let rules = Arc::new(config.rules_to_watch()?);
    let outlines = choose(args, &rules)?;
    let name = outlines[0].table.clone();
    let conninfo = config.source_conninfo()?;
    // A standby may lag behind the subscriptions that the request is for.
    let source = crate::source::connect_writable(&conninfo, "backfill").await?;
    let described = catalog::describe(&source, std::slice::from_ref(&name)).await?;
    let Some(table) = described.first() else {
        let existing = catalog::list(&source).await?;
        let near = suggestion(&name.to_string(), existing.iter().map(String::as_str));
        return Err(UsageError(format!("the table {name} does not exist{near}")).into());
    };
    let description = table.description();
    let errors = rules.check_table(&description);
    if !errors.is_empty() {
        return Err(config.locate(errors).into());
    }
    let readable = catalog::readable(table).map_err(|error| UsageError(error.to_string()))?;
    let mut wanted = Wanted {
        condition: args.condition.clone(),
        search_path: args.search_path.clone(),
        since: since(args, &description)?,
        until: None,
    };
    let key = readable.key_names();
    let reader = Reader::new(&source, readable, wanted.clone()).await?;
    let estimate = try_out(&source, &reader, &wanted).await?;
    let wishes = wishes(args, store, &outlines).await?;
    // In this order: who had begun by then is told by the stream of what is not there yet.
    let from_lsn = slot::current_wal_insert_lsn(&source).await?;
    wanted.until = reader.last_key(&source).await?;
    let order = Order {
        table: name,
        key,
        rules: outlines.iter().map(|rule| rule.name.to_string()).collect(),
        wanted,
        subscription: args.subscription,
        from_lsn,
        rows_per_second: args.rate,
        chunk_rows: args.chunk,
        estimate,
    };
    Ok(Asked {
        order,
        outlines,
        rules,
        reader,
        source,
        wishes,
    })
}

/// The rules that are meant, at least one and all of one table.
fn choose(args: &Args, rules: &RuleSet) -> Result<Vec<Outline>, UsageError> {
    let table = args
        .table
        .as_deref()
        .map(|text| table(text, rules))
        .transpose()?;
    let all: Vec<Outline> = rules.outlines().collect();
    let of_table = |rule: &&Outline| table.as_ref().is_none_or(|table| rule.table == *table);
    if args.events.is_empty() {
        let Some(table) = &table else {
            return Err(UsageError(
                "say what to backfill: --table, as in --table public.payments, or --event"
                    .to_owned(),
            ));
        };
        let chosen = all.iter().filter(of_table).filter(|rule| rule.inserts);
        let chosen: Vec<Outline> = chosen.cloned().collect();
        if chosen.is_empty() {
            let named = all.iter().filter(of_table).filter(|rule| rule.updates);
            let named: Vec<_> = named
                .map(|rule| format!("--event {}", rule.event_type))
                .collect();
            return Err(UsageError(format!(
                "no rule of {table} asks for inserts. To take its rows as updated ones name the event: {}",
                named.join(" ")
            )));
        }
        return Ok(chosen);
    }
    let mut chosen: Vec<Outline> = Vec::new();
    for name in &args.events {
        let named = |rule: &&Outline| *rule.name == **name || *rule.event_type == **name;
        let found: Vec<&Outline> = all.iter().filter(named).collect();
        if found.is_empty() {
            return Err(UsageError(format!(
                "no rule makes `{name}`{}",
                near(name, &all)
            )));
        }
        let here: Vec<&&Outline> = found.iter().filter(|rule| of_table(rule)).collect();
        if here.is_empty() {
            let (table, other) = (args.table.as_deref().unwrap_or_default(), &found[0].table);
            return Err(UsageError(format!(
                "`{name}` is not made of {table} but of {other}"
            )));
        }
        for rule in here {
            if !rule.inserts && !rule.updates {
                return Err(UsageError(format!(
                    "the rule `{}` asks for neither inserts nor updates: no row that exists makes its event",
                    rule.name
                )));
            }
            if !chosen.contains(rule) {
                chosen.push((**rule).clone());
            }
        }
    }
    match chosen.iter().find(|rule| rule.table != chosen[0].table) {
        None => Ok(chosen),
        Some(other) => Err(UsageError(format!(
            "these events are made of {} and of {}: say which by --table, one at a time",
            chosen[0].table, other.table
        ))),
    }
}

fn near(name: &str, rules: &[Outline]) -> String {
    let types = rules.iter().map(|rule| &*rule.event_type);
    suggestion(name, types.chain(rules.iter().map(|rule| &*rule.name)))
}

/// A table that some rule watches.
fn table(text: &str, rules: &RuleSet) -> Result<TableName, UsageError> {
    let name = TableName::parse(text).ok_or_else(|| {
        UsageError(format!(
            "`{text}` is not a table's name: expected schema.table"
        ))
    })?;
    if rules.tables().any(|watched| *watched == name) {
        return Ok(name);
    }
    let watched: Vec<String> = rules.tables().map(ToString::to_string).collect();
    let near = suggestion(&name.to_string(), watched.iter().map(String::as_str));
    Err(UsageError(format!(
        "no rule watches the table {name}{near}"
    )))
}

fn since(
    args: &Args,
    table: &TableDescription,
) -> Result<Option<(String, jiff::Timestamp)>, UsageError> {
    let Some(since) = args.since else {
        return Ok(None);
    };
    let column = &args.since_column;
    let is_time = |type_name: &str| type_name.starts_with("timestamp") || type_name == "date";
    let times = table
        .columns
        .iter()
        .filter(|column| is_time(&column.type_name));
    let times: Vec<&str> = times.map(|column| column.name.as_str()).collect();
    if times.contains(&column.as_str()) {
        return Ok(Some((column.clone(), since)));
    }
    let what = match table.columns.iter().find(|one| one.name == *column) {
        Some(found) => format!("is of type {}, not a time", found.type_name),
        None => "does not exist".to_owned(),
    };
    let near = match (nearest(column, times.iter().copied()), times.as_slice()) {
        (Some(near), _) => format!("; did you mean --since-column {near}?"),
        (None, []) => "; the table has no column that holds a time: use --where".to_owned(),
        (None, times) => format!("; --since-column could be {}", times.join(", ")),
    };
    Err(UsageError(format!("the column `{column}` {what}{near}")))
}

/// How long a condition may take to be tried.
const TRY: &str = "set statement_timeout = '5s'";

/// Lets the server read the condition, estimate its rows and find the first of them.
async fn try_out(source: &Client, reader: &Reader, wanted: &Wanted) -> anyhow::Result<i64> {
    let name = &reader.table().name;
    let begun = async {
        reader.begin(source).await?;
        reader.estimate(source).await
    };
    let estimate = match begun.await {
        Ok(estimate) => estimate,
        Err(error) => {
            let told = error.downcast_ref::<tokio_postgres::Error>();
            let told = told.and_then(tokio_postgres::Error::as_db_error);
            return Err(match (&wanted.condition, told) {
                (_, Some(told)) if *told.code() == SqlState::INSUFFICIENT_PRIVILEGE => {
                    unreadable(source, reader, told).await.into()
                }
                (Some(condition), Some(told)) => refused(condition, told).into(),
                _ => error.context(format!("look at {name}")),
            });
        }
    };
    source.batch_execute(TRY).await?;
    let first = async {
        let next = reader.next(source, None, 1).await?;
        reader.read(source, None, &next, 1).await.map(drop)
    };
    if let Err(error) = first.await {
        let told = error.downcast_ref::<tokio_postgres::Error>();
        let told = told.and_then(tokio_postgres::Error::as_db_error);
        match (&wanted.condition, told) {
            // It takes its time: no fault.
            (_, Some(told)) if *told.code() == SqlState::QUERY_CANCELED => {}
            (_, Some(told)) if *told.code() == SqlState::INSUFFICIENT_PRIVILEGE => {
                return Err(unreadable(source, reader, told).await.into());
            }
            (Some(condition), Some(told)) => return Err(refused(condition, told).into()),
            _ => return Err(error),
        }
    }
    reader.begin(source).await.context("prepare to read")?;
    Ok(estimate)
}

/// To stream a table the login needs no right on it; to read it, it does.
async fn unreadable(
    source: &Client,
    reader: &Reader,
    told: &tokio_postgres::error::DbError,
) -> UsageError {
    let query = include_str!("../../../sql/queries/cli/current_user.sql");
    let role = source.query_one(query, &[]).await;
    let role = role.ok().and_then(|row| row.try_get::<_, String>(0).ok());
    let role = role.as_deref().unwrap_or("…");
    UsageError(format!(
        "PostgreSQL says: {}. A backfill reads the table: {}",
        told.message(),
        rights::read_whole(role, &reader.table().name).join(" ")
    ))
}

fn refused(condition: &str, told: &tokio_postgres::error::DbError) -> UsageError {
    let hint = told
        .hint()
        .map(|hint| format!(" ({hint})"))
        .unwrap_or_default();
    UsageError(format!(
        "--where {condition}: PostgreSQL says: {}{hint}",
        told.message()
    ))
}

/// The subscriptions that would receive events; says so where there are none.
async fn wishes(args: &Args, store: &Client, rules: &[Outline]) -> anyhow::Result<Vec<Wish>> {
    let tenants = wish::by_tenant(store).await;
    let all = tenants
        .context("read the subscriptions")?
        .into_values()
        .flatten();
    let asks = |wish: &Wish| {
        let mut types = rules.iter().map(|rule| &rule.event_type);
        types.any(|event_type| wish.refusal(event_type, wish.from_lsn).is_none())
    };
    let Some(id) = args.subscription else {
        let wishes: Vec<Wish> = all.filter(|wish| asks(wish)).collect();
        if wishes.is_empty() {
            tell("nobody is subscribed to these events: they are stored, and sent to nobody");
        }
        return Ok(wishes);
    };
    let Some(wish) = all.into_iter().find(|wish| wish.id == id) else {
        return Err(UsageError(format!("there is no subscription {id}")).into());
    };
    if !wish.active {
        return Err(UsageError(format!(
            "the subscription {id} is disabled: enable it first"
        ))
        .into());
    }
    if !asks(&wish) {
        let types: Vec<_> = rules.iter().map(|rule| &*rule.event_type).collect();
        return Err(UsageError(format!(
            "the subscription {id} asks for {}, and not for {}",
            wish.events.join(", "),
            types.join(", ")
        ))
        .into());
    }
    Ok(vec![wish])
}
