//! The columns that a rule names, each once, and where it uses them.

use super::language::syntax::{Expr, Kind, Name};

/// How an expression uses a column, for the check against the live table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usage {
    Current,
    New,
    Old,
    Became,
    Changed,
}

#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) names: Vec<String>,
    pub(crate) uses: Vec<Use>,
}

#[derive(Debug)]
pub(crate) struct Use {
    pub(crate) name: usize,
    pub(crate) usage: Usage,
    /// The rule's key that the use stands under, such as `when` or `data.amount`.
    pub(crate) key: String,
}

impl Names {
    pub(crate) fn intern(&mut self, name: &str, usage: Usage, key: &str) -> usize {
        let known = self.names.iter().position(|known| known == name);
        let name = known.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        self.uses.push(Use {
            name,
            usage,
            key: key.to_owned(),
        });
        name
    }

    /// All columns that an expression names.
    pub(crate) fn read(&mut self, expr: &Expr, key: &str) {
        self.read_as(expr, Usage::Current, key);
    }

    fn read_as(&mut self, expr: &Expr, bare: Usage, key: &str) {
        match &expr.kind {
            Kind::Name(path) => {
                if let Some((name, usage)) = column(path, bare) {
                    self.intern(name, usage, key);
                }
            }
            Kind::Became(of) => self.read_as(of, Usage::Became, key),
            Kind::Changed(of) => {
                for part in of {
                    self.read_as(part, Usage::Changed, key);
                }
            }
            other => {
                for part in other.children() {
                    self.read_as(part, bare, key);
                }
            }
        }
    }
}

/// The column that a path names, and in which row; `None` where it names something else.
fn column(path: &[Name], bare: Usage) -> Option<(&str, Usage)> {
    match path {
        [name] if !name.quoted && matches!(name.text.as_str(), "tg_op" | "committed_at") => None,
        [name] => Some((&name.text, bare)),
        [row, name] if !row.quoted => match row.text.as_str() {
            "new" => Some((&name.text, Usage::New)),
            "old" => Some((&name.text, Usage::Old)),
            _ => None,
        },
        _ => None,
    }
}
