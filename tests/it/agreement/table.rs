//! The table that the server and the language both read.

use std::collections::HashMap;

use futures_util::future::join_all;
use tokio_postgres::SimpleQueryMessage;
use walhook::mapping::language::evaluate::{Operation, Row};
use walhook::mapping::language::letters::Letters;
use walhook::mapping::language::program::Version;
use walhook::mapping::language::time::Timestamp;
use walhook::mapping::language::types::{Collation, Column};

use super::kinds::{Kind, MOODS, Scalar};
use super::random::Random;
use super::values::{Charset, quoted, value};
use crate::harness::TestDatabase;

pub struct Table {
    pub columns: Vec<Column>,
    pub kinds: Vec<Kind>,
    /// The column `id` is the place of the row.
    pub rows: Vec<Values>,
    pub letters: Letters,
}

/// A row's values as the server prints them.
pub struct Values(pub Vec<Option<String>>);

/// A change of a row, as logical replication would carry it.
pub struct Change<'a> {
    operation: Operation,
    current: &'a Values,
    new: Option<&'a Values>,
    old: Option<&'a Values>,
}

/// Which row is the old one of an update, by how much its id is larger …
const OLD: usize = 7;

/// … but of each so many rows one is updated to what it was.
const SAME: usize = 8;

/// The id of the old row of an update.
pub fn previous(id: usize, rows: usize) -> usize {
    match id.is_multiple_of(SAME) {
        true => id,
        false => (id + OLD) % rows,
    }
}

/// What made the row of that id.
pub fn operation(id: usize) -> Operation {
    match id % 4 {
        1 => Operation::Insert,
        2 => Operation::Delete,
        _ => Operation::Update,
    }
}

impl Table {
    pub fn change(&self, id: usize) -> Change<'_> {
        let current = &self.rows[id];
        let operation = operation(id);
        Change {
            operation,
            current,
            new: (operation != Operation::Delete).then_some(current),
            old: match operation {
                Operation::Insert | Operation::Truncate => None,
                Operation::Update => self.rows.get(previous(id, self.rows.len())),
                Operation::Delete => Some(current),
            },
        }
    }

    /// The expression's value for each row: bare names mean `bare`, the others what they
    /// say.
    pub fn query(&self, source: &str) -> String {
        format!(
            "select cur.id, l.v from {},
             lateral (select ({source}) v from (select cur.*) bare) l",
            self.versions()
        )
    }

    /// Whether the value is another one in the old row than in the new one, of updates.
    pub fn query_distinct(&self, source: &str) -> String {
        format!(
            "select cur.id, case cur.tg_op when 'UPDATE' then a.v is distinct from b.v end from {},
             lateral (select ({source}) v from (select cur.*) bare) a,
             lateral (select ({source}) v from (select old.*) bare) b",
            self.versions()
        )
    }

    fn versions(&self) -> String {
        format!(
            "t cur
             left join t new on new.id = cur.id and cur.tg_op <> 'DELETE'
             left join t old on old.id = case when cur.tg_op = 'DELETE' then cur.id
                 when cur.tg_op <> 'UPDATE' then null
                 when cur.id % {SAME} = 0 then cur.id else (cur.id + {OLD}) % {} end",
            self.rows.len()
        )
    }
}

impl Row for Change<'_> {
    fn text(&self, version: Version, column: usize) -> Result<Option<&str>, String> {
        let values = match version {
            Version::Current => Some(self.current),
            Version::New => self.new,
            Version::Old => self.old,
        };
        Ok(values.and_then(|values| values.0[column].as_deref()))
    }

    fn changed(&self, column: usize) -> Result<bool, String> {
        Ok(self.text(Version::New, column)? != self.text(Version::Old, column)?)
    }

    fn operation(&self) -> Operation {
        self.operation
    }

    fn committed_at(&self) -> Timestamp {
        Timestamp::parse_output_tz(COMMITTED_AT).unwrap()
    }
}

const COMMITTED_AT: &str = "2024-02-29 10:00:00.5+00";

/// The output that a walsender has, too.
pub const SETTINGS: &str = "set datestyle = 'ISO'; set intervalstyle = 'postgres';
    set timezone = 'UTC'; set extra_float_digits = 3; set bytea_output = 'hex';
    set client_encoding = 'UTF8'; set jit = off; set plan_cache_mode = 'auto'";

impl Table {
    /// Fills the table with rows that follow from the random numbers.
    pub async fn create(
        database: &TestDatabase,
        charset: Charset,
        random: &mut Random,
        count: usize,
    ) -> Self {
        let client = &database.client;
        client.batch_execute(SETTINGS).await.unwrap();
        client
            .batch_execute("drop table if exists t; drop type if exists mood")
            .await
            .unwrap();
        let labels = MOODS.map(quoted).join(", ");
        client
            .batch_execute(&format!("create type mood as enum ({labels})"))
            .await
            .unwrap();
        let columns = columns();
        let declared = columns.iter().map(|(name, kind, collation)| {
            let collate = match collation {
                Collation::Default => "",
                _ => " collate \"C\"",
            };
            format!("\"{name}\" {}{collate}", kind.sql())
        });
        let declared = declared.collect::<Vec<_>>().join(", ");
        // The last two stand for names of the language.
        let create = format!(
            "create table t (id int primary key, {declared}, tg_op text default 'INSERT',
                 committed_at timestamptz default '{COMMITTED_AT}')"
        );
        client.batch_execute(&create).await.unwrap();
        for id in 0..count {
            let (mut names, mut values) = (String::new(), String::new());
            let mut single = Vec::new();
            for (name, kind, _) in &columns {
                // The first row is all null.
                if id > 0 && random.chance(88) {
                    let value = quoted(&charset.fit(value(random, *kind)));
                    names += &format!(", \"{name}\"");
                    values += &format!(", {value}");
                    single.push(format!("update t set \"{name}\" = {value} where id = {id}"));
                }
            }
            let whole = format!("insert into t (id{names}) values ({id}{values})");
            if client.simple_query(&whole).await.is_err() {
                let only = format!("insert into t (id) values ({id})");
                client.simple_query(&only).await.unwrap();
                // What the server does not take stays null.
                join_all(single.iter().map(|update| client.simple_query(update))).await;
            }
            let tg_op = operation(id).as_str();
            let update = format!("update t set tg_op = '{tg_op}' where id = {id}");
            client.simple_query(&update).await.unwrap();
        }
        let answer = client
            .simple_query("select * from t order by id")
            .await
            .unwrap();
        let rows = answer.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                let values = (0..row.len()).map(|at| row.get(at).map(str::to_owned));
                Some(Values(values.collect()))
            }
            _ => None,
        });
        let id = ("id".to_owned(), Kind::one(Scalar::Int4), Collation::Default);
        let all: Vec<_> = std::iter::once(id).chain(columns).collect();
        Table {
            rows: rows.collect(),
            letters: letters(database, charset).await,
            kinds: all.iter().map(|(_, kind, _)| *kind).collect(),
            columns: all
                .into_iter()
                .map(|(name, kind, collation)| Column {
                    name,
                    r#type: kind.r#type(),
                    type_name: kind.sql(),
                    collation,
                })
                .collect(),
        }
    }
}

/// Two of each type, and some with a name or a collation of their own.
pub fn columns() -> Vec<(String, Kind, Collation)> {
    let mut columns = Vec::new();
    for of in Scalar::ALL {
        for side in ["a", "b"] {
            columns.push((
                format!("{}_{side}", of.name()),
                Kind::one(of),
                Collation::Default,
            ));
            if of != Scalar::Json {
                columns.push((
                    format!("{}s_{side}", of.name()),
                    Kind::many(of),
                    Collation::Default,
                ));
            }
        }
    }
    columns.push((
        "Order No".to_owned(),
        Kind::one(Scalar::Int4),
        Collation::Default,
    ));
    columns.push(("bytes".to_owned(), Kind::one(Scalar::Text), by_bytes()));
    columns
}

fn by_bytes() -> Collation {
    Collation::Bytes("C".to_owned())
}

/// The mapping of lower and upper case, read from the server in one query.
async fn letters(database: &TestDatabase, charset: Charset) -> Letters {
    let last = match charset {
        Charset::Utf8 => 0x1_ffff,
        Charset::Latin1 => 0xff,
        Charset::Bytes => return Letters::ascii(),
    };
    let query = format!(
        "select i, lower(chr(i)), upper(chr(i)) from generate_series(128, {last}) i
         where i not between 55296 and 57343
           and (lower(chr(i)) <> chr(i) or upper(chr(i)) <> chr(i))"
    );
    let answer = database.client.simple_query(&query).await.unwrap();
    let mapped = answer.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            let character = row.get(0)?.parse().ok().and_then(char::from_u32)?;
            Some((character, row.get(1)?, row.get(2)?))
        }
        _ => None,
    });
    let mut letters = Letters::of(mapped);
    // 14 and before have none.
    let icu = "select 1 from pg_database d where datname = current_database()
               and to_jsonb(d)->>'datlocprovider' = 'i'";
    let answer = database.client.simple_query(icu).await.unwrap();
    if answer
        .iter()
        .any(|message| matches!(message, SimpleQueryMessage::Row(_)))
    {
        letters.unclear('Σ');
    }
    letters
}

/// The server's release.
pub async fn major(database: &TestDatabase) -> u32 {
    let answer = database
        .client
        .simple_query("show server_version_num")
        .await
        .unwrap();
    let number = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0)?.parse::<u32>().ok(),
        _ => None,
    });
    number.unwrap() / 10_000
}

/// The values of the columns that the expression names: what a failure may be blamed on.
pub fn mentioned(table: &Table, row: usize, source: &str) -> String {
    let folded = source.to_lowercase();
    let named = table.columns.iter().enumerate();
    let named = named.filter(|(_, column)| folded.contains(&column.name.to_lowercase()));
    let change = table.change(row);
    let [current, old] = [Some(change.current), change.old].map(|values| {
        let named = named.clone().filter_map(|(at, column)| {
            let value = values?.0[at].as_deref()?;
            Some((column.name.as_str(), value))
        });
        named.collect::<HashMap<_, _>>()
    });
    let of_old = ["old.", "became(", "changed("];
    match of_old.iter().any(|word| folded.contains(word)) {
        true => format!("{source} {current:?} old {old:?}"),
        false => format!("{source} {current:?}"),
    }
}
