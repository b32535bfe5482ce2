//! The language of rules agrees with PostgreSQL: random expressions over random rows, each
//! evaluated by both.
//!
//! ```text
//! WALHOOK_AGREEMENT_CASES=1000000 cargo test --test it -- agreement --nocapture
//! ```
//!
//! compares so many cases, an expression on a row each, over all databases.
//! `WALHOOK_AGREEMENT_SEED` repeats a run; a failing test prints its own.

mod bodies;
mod changes;
mod compare;
mod constants;
mod directed;
mod filters;
mod forms;
mod generator;
mod kinds;
mod pools;
mod random;
mod soup;
mod table;
mod values;

use std::collections::BTreeMap;

use tokio_postgres::SimpleQueryMessage;

use changes::OnChange;
use compare::{Fault, Judge, Outcome, Verdict};
use generator::{Expression, Generator};
use random::Random;
use table::Table;
use values::Charset;

use crate::harness::{self, TestDatabase};

/// Cases in each database, unless the environment says otherwise.
const CASES: usize = 4_500;
/// Filters have one of their own.
const DATABASES: usize = 7;
const ROWS: usize = 40;
/// Expressions over the same rows.
const ROUND: usize = 400;
/// Expressions that are under way to the server at once.
const TOGETHER: usize = 50;
const SEED: u64 = 1;

#[tokio::test]
async fn expressions_agree_in_utf8_by_bytes() {
    agree("encoding 'UTF8' locale 'C'", Charset::Utf8).await;
}

/// Of the C library the letters of all languages, of C the order.
#[tokio::test]
async fn expressions_agree_in_utf8_with_the_letters_of_unicode() {
    let known = "select from pg_collation where collctype in ('C.utf8', 'C.UTF-8') limit 1";
    let options = "encoding 'UTF8' lc_collate 'C' lc_ctype 'C.UTF-8'";
    agree_where(known, options, Charset::Utf8).await;
}

#[tokio::test]
async fn expressions_agree_in_utf8_in_the_order_of_a_language() {
    agree_under_icu("UTF8", Charset::Utf8).await;
}

#[tokio::test]
async fn expressions_agree_in_latin1_by_bytes() {
    agree("encoding 'LATIN1' locale 'C'", Charset::Latin1).await;
}

#[tokio::test]
async fn expressions_agree_in_latin1_in_the_order_of_a_language() {
    agree_under_icu("LATIN1", Charset::Latin1).await;
}

#[tokio::test]
async fn expressions_agree_where_texts_are_bytes() {
    agree("encoding 'SQL_ASCII' locale 'C'", Charset::Bytes).await;
}

/// The only provider of a language's order that every machine has, from 15 on.
async fn agree_under_icu(encoding: &str, charset: Charset) {
    let known = "select from pg_collation where collprovider = 'i'
                 and current_setting('server_version_num')::int >= 150000 limit 1";
    let options =
        format!("encoding '{encoding}' locale 'C' locale_provider icu icu_locale 'en-US'");
    agree_where(known, &options, charset).await;
}

/// In a database that not every server can have: where the query gives a row.
async fn agree_where(known: &str, options: &str, charset: Charset) {
    let any = TestDatabase::create_with(harness::server(), "").await;
    let answer = any.client.simple_query(known).await.unwrap();
    let is_row = |message: &SimpleQueryMessage| matches!(message, SimpleQueryMessage::Row(_));
    match answer.iter().any(is_row) {
        true => agree(options, charset).await,
        false => println!("this server has no database with {options}"),
    }
}

#[tokio::test]
async fn filters_agree() {
    let (seed, cases) = asked();
    filters::agree(seed, cases).await;
}

/// The seed and the number of cases in each database that the environment asks for.
fn asked() -> (u64, usize) {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().unwrap())
    };
    let seed = number("WALHOOK_AGREEMENT_SEED").unwrap_or(SEED);
    let cases = number("WALHOOK_AGREEMENT_CASES");
    (seed, cases.map_or(CASES, |all| all as usize / DATABASES))
}

/// Compares as many expressions as the environment asks for.
async fn agree(options: &str, charset: Charset) {
    let (seed, cases) = asked();
    let options = format!("template template0 {options}");
    let database = TestDatabase::create_with(harness::server(), &options).await;
    let major = table::major(&database).await;
    let mut tally = Tally::default();
    let mut round = 0;
    while tally.cases < cases {
        let mut random = Random::new(seed).with(&format!("{options} {round}"));
        let table = Table::create(&database, charset, &mut random, ROWS).await;
        let judge = Judge {
            table: &table,
            database: &database,
            charset,
            major,
        };
        let columns: Vec<_> = table
            .columns
            .iter()
            .map(|column| column.name.clone())
            .zip(table.kinds.iter().copied())
            .collect();
        let mut expressions = Vec::new();
        if round == 0 {
            expressions.extend(directed::expressions());
        }
        let mut generator = Generator {
            random: &mut random,
            charset,
            columns: &columns,
            constant: false,
            bare: false,
        };
        let wanted = (cases - tally.cases).div_ceil(ROWS).clamp(20, ROUND);
        for _ in 0..wanted {
            let depth = 1 + generator.random.below(4);
            expressions.push(generator.any(depth));
        }
        let mut on_change = Vec::new();
        for _ in 0..wanted / 3 {
            let depth = 1 + generator.random.below(3);
            on_change.push(generator.on_change(depth));
        }
        tally.compare(&judge, &expressions).await;
        tally.compare_changes(&judge, &on_change).await;
        let soups = (0..wanted * 3).map(|_| soup::soup(&mut random));
        // Most of them mean nothing.
        let soups = soups
            .filter(|soup| judge.check(soup).is_ok())
            .take(wanted / 2);
        let soups: Vec<_> = soups.map(Expression::whole).collect();
        tally.soups += soups.len();
        tally.compare(&judge, &soups).await;
        round += 1;
    }
    println!("{options}, seed {seed}: {tally}");
    let faults: Vec<_> = tally.faults.iter().map(Fault::to_string).collect();
    assert!(
        faults.is_empty(),
        "{options}, seed {seed}: {} expressions disagree\n{}",
        faults.len(),
        faults.join("\n")
    );
    let refused = tally.refusals.values().sum::<usize>();
    // Of bytes, most that is said of texts.
    let most = if charset == Charset::Bytes { 6 } else { 4 };
    assert!(
        refused * 16 < tally.expressions * most,
        "too many are refused: {tally}"
    );
}

#[derive(Default)]
struct Tally {
    expressions: usize,
    soups: usize,
    /// Of conditions with `became` or `changed`.
    on_change: usize,
    cases: usize,
    both_fail: usize,
    null: usize,
    refusals: BTreeMap<String, usize>,
    narrowings: BTreeMap<&'static str, usize>,
    faults: Vec<Fault>,
}

impl Tally {
    async fn compare(&mut self, judge: &Judge<'_>, expressions: &[Expression]) {
        for some in expressions.chunks(TOGETHER) {
            let sources: Vec<_> = some.iter().map(|one| one.text.clone()).collect();
            let verdicts = judge.judge(&sources).await;
            for (expression, verdict) in some.iter().zip(verdicts) {
                if let Some(fault) = self.count(verdict) {
                    self.faults.push(smallest(judge, expression, fault).await);
                }
            }
        }
    }

    async fn compare_changes(&mut self, judge: &Judge<'_>, conditions: &[OnChange]) {
        for some in conditions.chunks(TOGETHER) {
            for verdict in judge.judge_changes(some).await {
                if let Verdict::Compared(outcomes) = &verdict {
                    self.on_change += outcomes.len();
                }
                let fault = self.count(verdict);
                self.faults.extend(fault);
            }
        }
    }

    /// The first case that disagrees.
    fn count(&mut self, verdict: Verdict) -> Option<Fault> {
        self.expressions += 1;
        let outcomes = match verdict {
            Verdict::Refused(message) => {
                *self.refusals.entry(shape(&message)).or_default() += 1;
                return None;
            }
            Verdict::Compared(outcomes) => outcomes,
        };
        self.cases += outcomes.len();
        let mut first = None;
        for outcome in outcomes {
            match outcome {
                Outcome::Equal { null } => self.null += usize::from(null),
                Outcome::BothFail => self.both_fail += 1,
                Outcome::Narrowed(reason) => *self.narrowings.entry(reason).or_default() += 1,
                Outcome::Fault(fault) => first = first.or(Some(fault)),
            }
        }
        first
    }
}

/// The part that disagrees, and has no part that does.
async fn smallest(judge: &Judge<'_>, expression: &Expression, fault: Fault) -> Fault {
    let (mut expression, mut fault) = (expression, fault);
    loop {
        let sources: Vec<_> = expression
            .parts
            .iter()
            .map(|part| part.text.clone())
            .collect();
        let verdicts = judge.judge(&sources).await;
        let mut smaller = None;
        for (part, verdict) in expression.parts.iter().zip(verdicts) {
            if let Verdict::Compared(outcomes) = verdict {
                for outcome in outcomes {
                    if let Outcome::Fault(fault) = outcome {
                        smaller = smaller.or(Some((part, fault)));
                    }
                }
            }
        }
        match smaller {
            Some(found) => (expression, fault) = found,
            None => return fault,
        }
    }
}

/// A message without what it quotes.
fn shape(message: &str) -> String {
    let mut shape = String::new();
    let mut quote = None;
    for c in message.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => continue,
            None if matches!(c, '`' | '\'') => quote = Some(c),
            None => {}
        }
        shape.push(c);
    }
    shape.chars().take(90).collect()
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let refused: usize = self.refusals.values().sum();
        writeln!(
            f,
            "{} cases ({} of became and changed) of {} expressions ({} without parentheses), {} null, \
             {} fail in both, {refused} refused",
            self.cases, self.on_change, self.expressions, self.soups, self.null, self.both_fail
        )?;
        for (reason, count) in &self.narrowings {
            writeln!(f, "  narrowed {count}: {reason}")?;
        }
        let mut refusals: Vec<_> = self.refusals.iter().collect();
        refusals.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (message, count) in refusals.iter().take(25) {
            writeln!(f, "  refused {count}: {message}")?;
        }
        Ok(())
    }
}
