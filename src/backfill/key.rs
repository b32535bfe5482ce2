//! The order of a table's key, for SQL that reads rows in that order.
//!
//! `order by` takes the default operator class of a type, but `>` in a condition is looked
//! up by name: under the empty search path of our sessions that of an extension's type is
//! not found, and another one is taken through a cast. `citext` would be sorted without
//! regard to case and compared with it, and rows would be skipped. So the operators are
//! those of the operator class, by schema, between values of exactly its type: no cast or
//! operator of another login's fits better.

use anyhow::{Context, ensure};
use tokio_postgres::Row;

use super::source::literal;
use crate::conninfo::{Client, column};
use crate::db::quote_identifier;
use crate::mapping::TableName;

/// The columns of a key, in its order.
#[derive(Clone, Debug)]
pub struct KeyOrder {
    table: String,
    columns: Vec<Column>,
}

#[derive(Clone, Debug)]
struct Column {
    name: String,
    /// Of the column; of a domain the type beneath it, without the domain's checks.
    type_name: String,
    is_domain: bool,
    operators: Operators,
}

/// Each as `operator(schema.name)`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Operators {
    less: String,
    less_or_equal: String,
    equal: String,
    greater_or_equal: String,
    greater: String,
}

impl KeyOrder {
    /// Reads from the catalog how the server orders these columns.
    pub async fn read(
        client: &Client,
        table: &TableName,
        columns: &[String],
    ) -> anyhow::Result<Self> {
        let query = include_str!("../../sql/queries/backfill/key_order.sql");
        let rows = client
            .query(query, &[&table.schema, &table.name, &columns])
            .await
            .with_context(|| format!("read how the key of {table} is ordered"))?;
        ensure!(
            rows.len() == columns.len(),
            "{table} does not have all columns of its key any more: {}",
            columns.join(", ")
        );
        let columns = rows.iter().map(Column::read);
        Ok(KeyOrder {
            table: format!(
                "{}.{}",
                quote_identifier(&table.schema),
                quote_identifier(&table.name)
            ),
            columns: columns.collect::<anyhow::Result<_>>()?,
        })
    }

    /// Of types whose operators are PostgreSQL's own.
    #[cfg(test)]
    pub fn of_builtin(table: &TableName, columns: &[(&str, &str)]) -> Self {
        let column = |(name, type_name): &(&str, &str)| Column {
            name: (*name).to_owned(),
            type_name: (*type_name).to_owned(),
            is_domain: false,
            operators: Operators::of_class(Vec::new()),
        };
        KeyOrder {
            table: table.to_string(),
            columns: columns.iter().map(column).collect(),
        }
    }

    /// The columns, as `select` and `order by` take them.
    pub fn list(&self) -> String {
        join(&self.columns, |column| quote_identifier(&column.name))
    }

    /// The columns for `order by`, last rows first.
    pub fn backwards(&self) -> String {
        join(&self.columns, |column| {
            format!("{} desc", quote_identifier(&column.name))
        })
    }

    /// The condition of the rows after the one of this key.
    pub fn after(&self, key: &[String]) -> String {
        self.compare(key, |operators| &operators.greater)
    }

    /// The condition of the rows up to that of this key.
    pub fn up_to(&self, key: &[String]) -> String {
        self.compare(key, |operators| &operators.less_or_equal)
    }

    /// The condition of the rows of these keys, at least one.
    pub fn among(&self, keys: &[Vec<String>]) -> String {
        let values: Vec<_> = keys
            .iter()
            .map(|key| format!("({})", self.literals(key)))
            .collect();
        let names: Vec<_> = (0..self.columns.len())
            .map(|place| format!("key_{place}"))
            .collect();
        let equal: Vec<_> = (self.columns.iter().zip(&names))
            .map(|(column, name)| {
                // With the table's name: the column may be called as one of the keys.
                let own = format!("{}.{}", self.table, quote_identifier(&column.name));
                format!(
                    "{} {} keys.{name}",
                    column.base(own),
                    column.operators.equal
                )
            })
            .collect();
        format!(
            "exists (select from (values {}) as keys ({}) where {})",
            values.join(", "),
            names.join(", "),
            equal.join(" and ")
        )
    }

    /// Row by row, as the order of several columns is: by the first that differs.
    fn compare(&self, key: &[String], operator: fn(&Operators) -> &String) -> String {
        let first = &self.columns[0].operators;
        if self.columns.iter().all(|column| column.operators == *first) {
            let columns = join(&self.columns, |column| {
                column.base(quote_identifier(&column.name))
            });
            // One index condition, however many columns there are.
            return format!("({columns}) {} ({})", operator(first), self.literals(key));
        }
        let mut pairs = self.columns.iter().zip(key).rev();
        let sides = |(column, text): (&Column, &String)| {
            (
                column.base(quote_identifier(&column.name)),
                column.literal(text),
            )
        };
        let Some(last) = pairs.next() else {
            return "true".to_owned();
        };
        let (own, value) = sides(last);
        let last = format!("{own} {} {value}", operator(&last.0.operators));
        pairs.fold(last, |behind, pair| {
            let operators = &pair.0.operators;
            let (own, value) = sides(pair);
            let (strict, bound) = match operator(operators) == &operators.greater {
                true => (&operators.greater, &operators.greater_or_equal),
                false => (&operators.less, &operators.less_or_equal),
            };
            // The first condition is for the index.
            format!(
                "({own} {bound} {value} and ({own} {strict} {value} or {own} {} {value} and {behind}))",
                operators.equal
            )
        })
    }

    fn literals(&self, key: &[String]) -> String {
        let literals = self.columns.iter().zip(key);
        let literals: Vec<_> = literals
            .map(|(column, text)| column.literal(text))
            .collect();
        literals.join(", ")
    }
}

impl Column {
    fn read(row: &Row) -> anyhow::Result<Self> {
        let operators: Vec<String> = column(row, "operators")?;
        Ok(Column {
            name: column(row, "name")?,
            type_name: column(row, "type_name")?,
            is_domain: column(row, "is_domain")?,
            operators: Operators::of_class(operators),
        })
    }

    /// A text is read by the type's input function: a cast from text to the type would be
    /// whatever its owner has made.
    fn literal(&self, text: &str) -> String {
        format!("{}::{}", literal(text), self.type_name)
    }

    /// The column as a value of the type that its operators are of.
    fn base(&self, column: String) -> String {
        match self.is_domain {
            true => format!("{column}::{}", self.type_name),
            false => column,
        }
    }
}

impl Operators {
    /// Those of an operator class, in the order of its strategies; or PostgreSQL's own.
    fn of_class(operators: Vec<String>) -> Self {
        let operators = <[String; 5]>::try_from(operators).unwrap_or_else(|_| {
            ["<", "<=", "=", ">=", ">"].map(|name| format!("operator(pg_catalog.{name})"))
        });
        let [less, less_or_equal, equal, greater_or_equal, greater] = operators;
        Operators {
            less,
            less_or_equal,
            equal,
            greater_or_equal,
            greater,
        }
    }
}

fn join(columns: &[Column], sql: impl Fn(&Column) -> String) -> String {
    let columns: Vec<_> = columns.iter().map(sql).collect();
    columns.join(", ")
}
