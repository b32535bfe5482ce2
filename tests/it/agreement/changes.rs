//! `became` and `changed` mean what rules say of them: the server gives the value of what
//! stands within for the old row and for the new one, and what follows is told here.

use futures_util::future::join_all;

use super::compare::{Answer, Judge, Verdict, answers};
use super::generator::{Expression, Generator};
use super::kinds::{Kind, Scalar};
use super::table::{operation, previous};
use walhook::mapping::language::evaluate::Operation;

/// A condition on a change, and what it is made of.
pub struct OnChange {
    pub text: String,
    meaning: Meaning,
}

enum Meaning {
    /// A condition that the server evaluates as it is.
    Plain(String),
    /// Of a condition on the bare names.
    Became(String),
    Changed(Vec<Compared>),
    Not(Box<Meaning>),
    /// From left to right, until one is this.
    Joined(bool, Box<Meaning>, Box<Meaning>),
}

enum Compared {
    /// By its text.
    Column(String),
    /// By `is distinct from`.
    Expression(String),
}

impl Generator<'_> {
    pub fn on_change(&mut self, depth: usize) -> OnChange {
        let (text, meaning) = self.joined(depth);
        OnChange { text, meaning }
    }

    fn joined(&mut self, depth: usize) -> (String, Meaning) {
        let (text, meaning) = match self.random.chance(60) {
            true => self.became(depth),
            false => self.changed(depth),
        };
        match self.random.below(6) {
            0 => (format!("not {text}"), Meaning::Not(Box::new(meaning))),
            way @ 1..=3 => {
                let other = match way {
                    1 => self.joined(depth),
                    _ => {
                        let plain = self.expression(Kind::one(Scalar::Bool), depth).text;
                        (format!("({plain})"), Meaning::Plain(plain))
                    }
                };
                let (left, right) = match self.random.chance(50) {
                    true => ((text, meaning), other),
                    false => (other, (text, meaning)),
                };
                let decides = self.random.chance(50);
                let word = if decides { "or" } else { "and" };
                (
                    format!("({}) {word} ({})", left.0, right.0),
                    Meaning::Joined(decides, Box::new(left.1), Box::new(right.1)),
                )
            }
            _ => (text, meaning),
        }
    }

    fn became(&mut self, depth: usize) -> (String, Meaning) {
        let condition = self.of_one_row(Kind::one(Scalar::Bool), depth).text;
        (format!("became({condition})"), Meaning::Became(condition))
    }

    fn changed(&mut self, depth: usize) -> (String, Meaning) {
        let number = 1 + self.random.below(3);
        let compared: Vec<_> = (0..number).map(|_| self.compared(depth)).collect();
        let texts: Vec<_> = compared
            .iter()
            .map(|one| match one {
                Compared::Column(name) => format!("\"{name}\""),
                Compared::Expression(text) => text.clone(),
            })
            .collect();
        let text = format!("changed({})", texts.join(", "));
        (text, Meaning::Changed(compared))
    }

    fn compared(&mut self, depth: usize) -> Compared {
        if self.random.chance(50) {
            let column = self.random.below(self.columns.len());
            return Compared::Column(self.columns[column].0.clone());
        }
        loop {
            let kind = self.kind();
            let one = self.of_one_row(kind, depth);
            // A bare column is compared by its text.
            if kind.has_equality() && !one.parts.is_empty() {
                return Compared::Expression(one.text);
            }
        }
    }

    /// Without names that say which row they mean.
    fn of_one_row(&mut self, kind: Kind, depth: usize) -> Expression {
        let outer = std::mem::replace(&mut self.bare, true);
        let expression = self.expression(kind, depth);
        self.bare = outer;
        expression
    }
}

impl Judge<'_> {
    pub async fn judge_changes(&self, conditions: &[OnChange]) -> Vec<Verdict> {
        join_all(conditions.iter().map(async |one| {
            let checked = match self.check(&one.text) {
                Ok(checked) => checked,
                Err(message) => return Verdict::Refused(message),
            };
            let Some(expected) = self.expected(&one.meaning).await else {
                return Verdict::Compared(Vec::new());
            };
            let rows = expected.into_iter().enumerate();
            let outcomes = rows.map(|(row, answer)| {
                let answer = answer.map(|value| value.map(|value| value[..1].to_owned()));
                self.outcome(&one.text, &checked, row, answer)
            });
            Verdict::Compared(outcomes.collect())
        }))
        .await
    }

    /// For each row; `None` where it is not clear: the server evaluates no row of a part,
    /// perhaps as it could not plan it, or what decides every row would be planned away.
    async fn expected(&self, meaning: &Meaning) -> Option<Vec<Answer>> {
        let count = self.table.rows.len();
        match meaning {
            Meaning::Plain(condition) => self.evaluated(&self.table.query(condition)).await,
            Meaning::Became(condition) => {
                // Of each row by itself.
                let values = self.evaluated(&self.table.query(condition)).await?;
                Some((0..count).map(|row| became(row, &values)).collect())
            }
            Meaning::Changed(compared) => {
                let mut of_each = Vec::new();
                for one in compared {
                    of_each.push(self.differs(one).await?);
                }
                let changed = |row| {
                    for one in &of_each {
                        match &one[row] {
                            Ok(Some(differs)) if differs == "f" => {}
                            decided => return decided.clone(),
                        }
                    }
                    boolean(false)
                };
                Some((0..count).map(changed).collect())
            }
            Meaning::Not(of) => {
                let values = Box::pin(self.expected(of)).await?;
                let negated = |value: Answer| {
                    value.map(|value| {
                        value.map(|value| if value == "t" { "f" } else { "t" }.to_owned())
                    })
                };
                Some(values.into_iter().map(negated).collect())
            }
            Meaning::Joined(decides, left, right) => {
                let left = Box::pin(self.expected(left)).await?;
                let right = Box::pin(self.expected(right)).await?;
                let deciding = boolean(*decides);
                if left.iter().any(Result::is_err) && right.iter().all(|one| *one == deciding) {
                    return None;
                }
                let both = left.into_iter().zip(right);
                Some(
                    both.map(|(left, right)| joined(*decides, left, right))
                        .collect(),
                )
            }
        }
    }

    /// Of an update, whether it has changed; else false.
    async fn differs(&self, compared: &Compared) -> Option<Vec<Answer>> {
        let count = self.table.rows.len();
        let is_update = |row| operation(row) == Operation::Update;
        let values = match compared {
            Compared::Expression(text) => self.evaluated(&self.table.query_distinct(text)).await?,
            Compared::Column(name) => {
                let mut columns = self.table.columns.iter();
                let place = columns.position(|column| column.name == *name).unwrap();
                let text = |row: usize| &self.table.rows[row].0[place];
                let differs = |row| boolean(text(row) != text(previous(row, count)));
                (0..count).map(differs).collect()
            }
        };
        let of_updates = values.into_iter().enumerate();
        let of_updates = of_updates.map(|(row, value)| match is_update(row) {
            true => value,
            false => boolean(false),
        });
        Some(of_updates.collect())
    }

    async fn evaluated(&self, query: &str) -> Option<Vec<Answer>> {
        let count = self.table.rows.len();
        let values = answers(&self.database.client, query, "cur.id", count).await;
        values.iter().any(Result::is_ok).then_some(values)
    }
}

fn became(row: usize, values: &[Answer]) -> Answer {
    let is_true = |value: &Answer| value.clone().map(|value| value.as_deref() == Some("t"));
    if operation(row) == Operation::Delete || !is_true(&values[row])? {
        return boolean(false);
    }
    let was_true =
        operation(row) == Operation::Update && is_true(&values[previous(row, values.len())])?;
    boolean(!was_true)
}

fn joined(decides: bool, left: Answer, right: Answer) -> Answer {
    let deciding = Some(if decides { "t" } else { "f" });
    let left = left?;
    if left.as_deref() == deciding {
        return Ok(left);
    }
    let right = right?;
    match left.is_none() && right.as_deref() != deciding {
        true => Ok(None),
        false => Ok(right),
    }
}

fn boolean(value: bool) -> Answer {
    Ok(Some(if value { "t" } else { "f" }.to_owned()))
}
