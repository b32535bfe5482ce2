//! Which column a name means, and what it could have meant.

use std::sync::Arc;

use crate::mapping::file::suggestion;
use crate::mapping::language::error::{Result, Span};
use crate::mapping::language::program::{ColumnKind, Node, Version};
use crate::mapping::language::syntax::Name;
use crate::mapping::language::types::{Collation, EnumType, Type};

use super::{Checker, Typed, spelt};

impl Checker<'_> {
    pub(super) fn name(&mut self, path: &[Name], at: &Span) -> Result<Typed> {
        if let Some(members) = self.scope.members {
            return self.event_member(members, path, at);
        }
        match path {
            [name] => self.bare(name, at),
            [row, name] if !row.quoted && matches!(row.text.as_str(), "new" | "old") => {
                if let Some(within) = self.within {
                    return Err(Self::error(
                        at,
                        format!(
                            "within `{within}` a column has no `{}.`, for it is read in both rows: write {}",
                            row.text, name.text
                        ),
                    ));
                }
                let version = match row.text.as_str() {
                    "new" => Version::New,
                    _ => Version::Old,
                };
                self.column(version, name, at)
            }
            [first, rest @ ..] => Err(Self::error(at, self.no_path(first, rest))),
            [] => Err(Self::error(at, "a name is expected")),
        }
    }

    pub(super) fn bare(&mut self, name: &Name, at: &Span) -> Result<Typed> {
        let special = match name.text.as_str() {
            "tg_op" if !name.quoted => Some((Node::Operation, operations())),
            "committed_at" if !name.quoted => Some((Node::CommittedAt, Type::Timestamptz)),
            _ => None,
        };
        let Some((node, r#type)) = special else {
            return self.column(Version::Current, name, at);
        };
        let text = &name.text;
        if self.scope.columns.iter().any(|column| column.name == *text) {
            return Err(Self::error(
                at,
                format!(
                    "`{text}` is a column here and a name of the language: write new.{text} for the column"
                ),
            ));
        }
        if let (Some(within), Node::Operation) = (self.within, &node) {
            return Err(Self::error(
                at,
                format!(
                    "`tg_op` has no place within `{within}`, which judges both rows alike: write it outside, as in tg_op = 'INSERT' or {within}(…)"
                ),
            ));
        }
        Ok(Typed {
            node,
            r#type,
            at: at.clone(),
            collation: None,
        })
    }

    pub(super) fn column(&mut self, version: Version, name: &Name, at: &Span) -> Result<Typed> {
        let found = self
            .scope
            .columns
            .iter()
            .enumerate()
            .find(|(_, column)| column.name == name.text);
        let Some((place, column)) = found else {
            return Err(Self::error(at, self.no_column(name)));
        };
        let (r#type, collation) = match &column.collation {
            Collation::Default => (column.r#type.clone(), None),
            other @ (Collation::Bytes(_) | Collation::Other(_)) => {
                (column.r#type.clone(), Some(other.clone()))
            }
            Collation::Nondeterministic(collation) => {
                let name = format!(
                    "{} with the nondeterministic collation {collation}",
                    column.type_name
                );
                (Type::Opaque(Arc::from(name)), None)
            }
        };
        if !self.read.contains(&place) {
            self.read.push(place);
        }
        Ok(Typed {
            node: Node::Column(version, place, ColumnKind::of(&r#type)),
            r#type,
            at: at.clone(),
            collation,
        })
    }

    pub(super) fn no_column(&self, name: &Name) -> String {
        let (table, text) = (self.scope.table, &name.text);
        let columns = || self.scope.columns.iter().map(|column| column.name.as_str());
        let hint = match columns().find(|column| column.to_lowercase() == text.to_lowercase()) {
            Some(column) if name.quoted => format!(": it is written {}", spelt(column)),
            Some(column) => format!(": a name with capitals is written {}", spelt(column)),
            None => match text.as_str() {
                "op" | "operation" | "inserted" | "is_new" | "created" => {
                    ": which operation it was is `tg_op`, as in tg_op = 'INSERT'".to_owned()
                }
                "deleted" | "is_deleted" | "destroyed" => {
                    format!(
                        "{}; which operation it was is `tg_op`, as in tg_op = 'DELETE'",
                        suggestion(text, columns())
                    )
                }
                "new" | "old" => format!(
                    ": `{text}` stands before a column, as in {text}.id; whether there are both rows says tg_op = 'UPDATE'"
                ),
                "none" | "nil" | "undefined" => ": write null".to_owned(),
                "now" | "today" => ": the commit's time is `committed_at`".to_owned(),
                "data" | "row" | "record" | "event" | "this" | "self" | "after" => {
                    ": a column is named alone, as in id".to_owned()
                }
                "before" | "previous" => ": the row before is `old`, as in old.id".to_owned(),
                _ if name.quoted && !columns().any(|column| strip(column) == strip(text)) => {
                    let quoted = match text.starts_with(['{', '[']) {
                        true => text.replace('\'', "\""),
                        false => text.replace('\'', "''"),
                    };
                    format!(
                        "{}; a text is written in single quotes, '{quoted}'",
                        suggestion(text, columns())
                    )
                }
                _ => match suggestion(text, columns().chain(["committed_at", "tg_op"])) {
                    near if near.is_empty() && columns().count() <= 30 => {
                        format!(
                            "; it has {}",
                            columns().map(spelt).collect::<Vec<_>>().join(", ")
                        )
                    }
                    near => near,
                },
            },
        };
        format!("table `{table}` has no column `{text}`{hint}")
    }

    pub(super) fn no_path(&self, first: &Name, rest: &[Name]) -> String {
        let mut names: Vec<&str> = rest.iter().map(|name| name.text.as_str()).collect();
        let of = |name: &str| self.scope.columns.iter().find(|column| column.name == name);
        let table = self.scope.table.rsplit('.').next().unwrap_or_default();
        let (mut row, mut column) = (String::new(), of(&first.text));
        if matches!(first.text.as_str(), "new" | "old") && rest.len() > 1 {
            row = format!("{}.", first.text);
            column = of(names.remove(0));
        }
        let last = names.last().copied().unwrap_or_default();
        match column {
            Some(column) if matches!(column.r#type, Type::Json | Type::Jsonb) => {
                let path = match names.as_slice() {
                    [one] => format!("{row}{}->>'{one}'", spelt(&column.name)),
                    _ => format!("{row}{}#>>'{{{}}}'", spelt(&column.name), names.join(",")),
                };
                format!("a member of json is written {path}")
            }
            Some(column) => {
                let hint = match last {
                    "lower" | "upper" | "length" | "abs" | "trim" | "changed" => {
                        format!(": write {last}({row}{})", spelt(&column.name))
                    }
                    _ => String::new(),
                };
                format!(
                    "column `{}` is of type {}, and has no member `{last}`{hint}",
                    column.name, column.type_name
                )
            }
            None if matches!(first.text.as_str(), "before" | "previous" | "prev") => {
                format!("the row before is `old`: write old.{}", spelt(last))
            }
            None if first.text == table || rest.len() > 1 => {
                format!("the table is not named: write {}", spelt(last))
            }
            None if self.scope.columns.iter().any(
                |column| matches!(&column.r#type, Type::Enum(of) if of.name == first.text),
            ) =>
            {
                format!(
                    "a label of `{}` is written in single quotes alone: '{last}'",
                    first.text
                )
            }
            None if of(last).is_some() => format!(
                "before `.` stands `new` or `old`, not `{}`: write {} or new.{}",
                first.text,
                spelt(last),
                spelt(last)
            ),
            None => format!(
                "before `.` stands `new` or `old`: expected a column, met `{}`; a label or another text is written in single quotes, '{last}'",
                first.text
            ),
        }
    }
}

fn strip(name: &str) -> String {
    name.to_lowercase().replace(['_', '-', ' '], "")
}

/// What made a change, as `tg_op` names it in a trigger.
fn operations() -> Type {
    let labels = ["INSERT", "UPDATE", "DELETE", "TRUNCATE"];
    Type::Enum(Arc::new(EnumType {
        name: "tg_op".to_owned(),
        labels: labels.map(str::to_owned).to_vec(),
    }))
}
