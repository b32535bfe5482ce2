//! Gives each name its column and each part its type, as the server's parser would
//! (`parse_expr.c`, `parse_oper.c`, `parse_coerce.c`), or refuses the expression.

use std::sync::Arc;

use super::error::{Result, Span, SyntaxError};
use super::evaluate::constant_value;
use super::letters::Letters;
use super::program::{Change, ColumnKind, Comparer, Function, Node, Version};
use super::syntax::{Expr, Kind, Name};
use super::types::{Collation, Column, Encoding, EnumType, Type};
use super::value::Constant;
use crate::mapping::file::suggestion;

mod arithmetic;
mod cast;
mod collation;
mod compare;
mod foreign;
mod function;
mod json;
mod literal;
mod member;
mod spelling;
mod unify;

use unify::convert;

pub(super) use literal::{boolean as read_boolean, uuid as read_uuid};

/// What names may mean.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    /// As messages name it, `schema.table`.
    pub table: &'a str,
    pub columns: &'a [Column],
    /// Of a filter, the members that an event has; names lead into them, and there are no
    /// columns.
    pub members: Option<&'a [&'a str]>,
    pub encoding: Encoding,
    pub letters: &'a Letters,
}

/// An expression that can be evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    pub node: Node,
    pub r#type: Type,
}

/// Checks an expression of any type.
pub fn check(source: &str, expr: &Expr, scope: &Scope<'_>) -> Result<Checked> {
    let mut checker = Checker::new(source, scope);
    let typed = checker.expression(expr)?;
    let typed = match typed.r#type {
        Type::Unknown => checker.literal_as(typed, &Type::Text)?,
        _ => typed,
    };
    Ok(Checked {
        node: typed.node,
        r#type: typed.r#type,
    })
}

/// Checks a condition.
pub fn check_condition(source: &str, expr: &Expr, scope: &Scope<'_>) -> Result<Checked> {
    let mut checker = Checker::new(source, scope);
    let node = checker.condition(expr, "a condition is expected")?;
    Ok(Checked {
        node,
        r#type: Type::Bool,
    })
}

/// A part with its type.
#[derive(Clone, Debug)]
struct Typed {
    node: Node,
    r#type: Type,
    at: Span,
    /// That of the columns which its text comes of; `None` is the database's own.
    collation: Option<Collation>,
}

struct Checker<'a> {
    source: &'a str,
    scope: &'a Scope<'a>,
    /// Within `became` or `changed`, which judge both rows alike.
    within: Option<&'static str>,
    /// The columns that were named since this was last emptied.
    read: Vec<usize>,
    /// Parts checked so far.
    parts: u32,
}

/// Parts checked, at most. `between` and `case x when` check what stands before them more
/// than once, so that within each other they would take time without end.
const MAX_PARTS: u32 = 20_000;

impl<'a> Checker<'a> {
    fn new(source: &'a str, scope: &'a Scope<'a>) -> Self {
        Checker {
            source,
            scope,
            within: None,
            read: Vec::new(),
            parts: 0,
        }
    }

    /// The part's source, for a message.
    fn show(&self, at: &Span) -> String {
        const SHOWN: usize = 60;
        let text = self.source.get(at.clone()).unwrap_or_default();
        match text.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("`{}…`", &text[..end]),
            None => format!("`{text}`"),
        }
    }

    fn error(at: &Span, message: impl Into<String>) -> SyntaxError {
        SyntaxError::new(at.clone(), message)
    }

    /// A part that yields true, false or null.
    fn condition(&mut self, expr: &Expr, why: &str) -> Result<Node> {
        let typed = self.expression(expr)?;
        match typed.r#type {
            Type::Bool => Ok(typed.node),
            Type::Member => Ok(convert(typed, &Type::Bool).node),
            Type::Unknown => match (self.literal_as(typed.clone(), &Type::Bool), &expr.kind) {
                (Ok(known), _) => Ok(known.node),
                (Err(_), Kind::Text(text)) => {
                    let hint = match why.contains("joins") {
                        true => format!(
                            "each side is one, as in status = '{text}', or write status in ('a', '{text}')"
                        ),
                        false if text.contains(['=', ' ']) => {
                            format!("write it without quotes around it: {text}")
                        }
                        false => format!("compare a column with it, as in status = '{text}'"),
                    };
                    Err(Self::error(
                        &typed.at,
                        format!("{why}, and '{text}' is a text: {hint}"),
                    ))
                }
                (Err(error), _) => Err(error),
            },
            ref other => {
                let shown = self.show(&typed.at);
                let plain = self.plain(&typed.at);
                let hint = match other {
                    number if number.is_number() => format!("compare it, as in {plain} <> 0"),
                    Type::Enum(of) => {
                        let label = of.labels.first().map_or("…", String::as_str);
                        format!("compare it, as in {plain} = '{label}'")
                    }
                    Type::Text | Type::Varchar
                        if plain.contains("->>") || plain.contains("#>>") =>
                    {
                        format!("write ({plain})::boolean, or compare it, as in {plain} = '…'")
                    }
                    Type::Text | Type::Varchar | Type::Char => {
                        format!("compare it, as in {plain} = '…', or write {plain} is not null")
                    }
                    Type::Jsonb | Type::Json => {
                        format!("write ({})::boolean, or compare it", self.as_text(&typed))
                    }
                    Type::Array(_) => format!("ask for an element, as in 'x' = any({plain})"),
                    _ => format!("compare it, or write {plain} is not null"),
                };
                Err(Self::error(
                    &typed.at,
                    format!("{why}, and {shown} is of type {other}: {hint}"),
                ))
            }
        }
    }

    fn expression(&mut self, expr: &Expr) -> Result<Typed> {
        self.parts += 1;
        if self.parts > MAX_PARTS {
            return Err(Self::error(
                &expr.at,
                "too many parts: `between` and `case x when …` stand within each other too often; write x >= a and x <= b, or `case when x = a then …`",
            ));
        }
        let typed = self.part(expr)?;
        self.fold(typed)
    }

    /// A part without columns is computed now, so that what fails always fails at start.
    /// As the server's planner does, whatever the other operands are: null with a strict
    /// operator is null, `and` with false is false, `or` with true is true.
    fn fold(&self, typed: Typed) -> Result<Typed> {
        let typed = Typed {
            node: simplified(typed.node),
            ..typed
        };
        if let Some(constant) = decided(&typed.node) {
            return Ok(Typed {
                node: Node::Constant(constant),
                ..typed
            });
        }
        if matches!(typed.node, Node::Constant(_)) || !is_constant(&typed.node) {
            return Ok(typed);
        }
        match constant_value(&typed.node, self.scope.letters) {
            Ok(value) => Ok(Typed {
                node: Node::Constant(value),
                ..typed
            }),
            Err(reason) => Err(Self::error(
                &typed.at,
                format!("{} has no value: {reason}", self.show(&typed.at)),
            )),
        }
    }

    /// The same of a condition.
    fn folded(&self, node: Node, at: &Span) -> Result<Node> {
        let condition = Typed {
            node,
            r#type: Type::Bool,
            at: at.clone(),
            collation: None,
        };
        self.fold(condition).map(|condition| condition.node)
    }

    fn part(&mut self, expr: &Expr) -> Result<Typed> {
        let at = &expr.at;
        let typed = |node, r#type| Typed {
            node,
            r#type,
            at: at.clone(),
            collation: None,
        };
        Ok(match &expr.kind {
            Kind::Null => typed(Node::Constant(None), Type::Unknown),
            Kind::Bool(value) => typed(Node::Constant(Some(Constant::Bool(*value))), Type::Bool),
            Kind::Number(digits) => self.number(digits, at)?,
            Kind::Text(text) => self.unknown(text, at)?,
            Kind::Constant(name, text) => {
                let unknown = self.unknown(text, at)?;
                let target = Type::from(*name);
                self.literal_as(unknown, &target)?
            }
            Kind::Name(path) => self.name(path, at)?,
            Kind::Minus(of) => self.minus(of, at)?,
            Kind::Not(of) => {
                let node = self.condition(of, "`not` needs a condition")?;
                typed(Node::Not(Box::new(node)), Type::Bool)
            }
            Kind::And(parts) => {
                let parts = self.conditions(parts, "`and` joins conditions")?;
                typed(Node::And(parts), Type::Bool)
            }
            Kind::Or(parts) => {
                let parts = self.conditions(parts, "`or` joins conditions")?;
                typed(Node::Or(parts), Type::Bool)
            }
            Kind::IsNull(of, negated) => {
                let of = self.expression(of)?;
                typed(Node::IsNull(Box::new(of.node), *negated), Type::Bool)
            }
            Kind::IsBool(of, value, negated) => {
                let why = format!("`is {value}` needs a condition");
                let node = self.condition(of, &why)?;
                typed(Node::IsBool(Box::new(node), *value, *negated), Type::Bool)
            }
            Kind::Compare(comparison, left, right) => {
                let node = self.compare(*comparison, left, right, at)?;
                typed(node, Type::Bool)
            }
            Kind::IsDistinct(left, right, negated) => {
                let node = self.distinct(left, right, *negated, at)?;
                typed(node, Type::Bool)
            }
            Kind::Between(of, low, high, negated) => {
                let node = self.between(of, low, high, *negated)?;
                typed(node, Type::Bool)
            }
            Kind::In(of, list, negated) => {
                let node = self.is_in(of, list, *negated)?;
                typed(node, Type::Bool)
            }
            Kind::Like {
                text,
                pattern,
                ignore_case,
                negated,
            } => {
                let node = self.like(text, pattern, *ignore_case, *negated)?;
                typed(node, Type::Bool)
            }
            Kind::Any(of, array) => {
                let node = self.any(of, array, at)?;
                typed(node, Type::Bool)
            }
            Kind::Arithmetic(operator, left, right) => {
                self.arithmetic(*operator, left, right, at)?
            }
            Kind::Other(operator, left, right) => self.other(*operator, left, right, at)?,
            Kind::Case {
                operand,
                branches,
                otherwise,
            } => self.case(operand.as_deref(), branches, otherwise.as_deref(), at)?,
            Kind::Cast(of, name) => {
                let of = self.expression(of)?;
                self.cast(of, *name, at)?
            }
            Kind::Collate(_) => {
                return Err(Self::error(
                    at,
                    "`collate \"C\"` stands on one side of a comparison, as in name < 'b' collate \"C\"",
                ));
            }
            Kind::Extract(field, of) => self.extract(field, of, at)?,
            Kind::Call(name, arguments) => self.call(name, arguments, at)?,
            Kind::Became(_) | Kind::Changed(_) if self.scope.members.is_some() => {
                return Err(Self::error(
                    at,
                    "an event has no old row: whether a member changed says previous ? 'name'",
                ));
            }
            Kind::Became(condition) => self.became(condition, at)?,
            Kind::Changed(of) => self.changed(of, at)?,
        })
    }

    fn conditions(&mut self, parts: &[Expr], why: &str) -> Result<Vec<Node>> {
        let parts = parts.iter().map(|part| self.condition(part, why));
        parts.collect()
    }

    fn name(&mut self, path: &[Name], at: &Span) -> Result<Typed> {
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

    fn bare(&mut self, name: &Name, at: &Span) -> Result<Typed> {
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

    fn column(&mut self, version: Version, name: &Name, at: &Span) -> Result<Typed> {
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

    fn no_column(&self, name: &Name) -> String {
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

    fn no_path(&self, first: &Name, rest: &[Name]) -> String {
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

    fn within<T>(
        &mut self,
        word: &'static str,
        at: &Span,
        run: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<(T, Vec<usize>)> {
        if let Some(outer) = self.within {
            return Err(Self::error(
                at,
                format!(
                    "`{word}` has no place within `{outer}`: write it beside, joined by `and` or `or`"
                ),
            ));
        }
        self.within = Some(word);
        let before = std::mem::take(&mut self.read);
        let result = run(self);
        self.within = None;
        let read = std::mem::replace(&mut self.read, before);
        for place in &read {
            if !self.read.contains(place) {
                self.read.push(*place);
            }
        }
        Ok((result?, read))
    }

    fn became(&mut self, condition: &Expr, at: &Span) -> Result<Typed> {
        let (node, read) = self.within("became", at, |checker| {
            checker.condition(condition, "`became` takes a condition")
        })?;
        Ok(Typed {
            node: Node::Became(Box::new(node), read),
            r#type: Type::Bool,
            at: at.clone(),
            collation: None,
        })
    }

    fn changed(&mut self, of: &[Expr], at: &Span) -> Result<Typed> {
        let (changes, _) = self.within("changed", at, |checker| {
            let changes = of.iter().map(|one| checker.change(one));
            changes.collect::<Result<Vec<_>>>()
        })?;
        Ok(Typed {
            node: Node::Changed(changes),
            r#type: Type::Bool,
            at: at.clone(),
            collation: None,
        })
    }

    fn change(&mut self, expr: &Expr) -> Result<Change> {
        let typed = self.expression(expr)?;
        match &typed.node {
            Node::Column(Version::Current, place, _) => Ok(Change::Column(*place)),
            Node::Constant(_) => Err(Self::error(
                &typed.at,
                match &expr.kind {
                    Kind::Text(text) => {
                        let columns = self.scope.columns;
                        match columns.iter().any(|column| column.name == *text) {
                            true => format!(
                                "`changed` names columns without quotes: write changed({})",
                                spelt(text)
                            ),
                            false => format!(
                                "`changed` names columns: for a change to a value write became(status = '{text}')"
                            ),
                        }
                    }
                    _ => format!(
                        "{} never changes: name a column, as in changed(status)",
                        self.show(&typed.at)
                    ),
                },
            )),
            node => match Comparer::of(&typed.r#type) {
                Some(comparer) => Ok(Change::Expression(comparer, Box::new(node.clone()))),
                None => Err(Self::error(
                    &typed.at,
                    format!(
                        "{} is of type {}, which has no equality: name a column, or write changed({})",
                        self.show(&typed.at),
                        typed.r#type,
                        self.as_text(&typed)
                    ),
                )),
            },
        }
    }
}

/// A column's name as an expression writes it.
pub fn spelt(name: &str) -> String {
    let plain = name.chars().all(|c| {
        c == '_' || c == '$' || c.is_numeric() || c.is_alphabetic() && !c.is_ascii_uppercase()
    }) && name.starts_with(|c: char| c == '_' || c.is_alphabetic());
    match plain && !super::words::is_reserved(name) {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
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

/// `coalesce` and `case` without what a constant of theirs keeps from being reached.
fn simplified(node: Node) -> Node {
    match node {
        Node::Coalesce(mut parts) => {
            parts.retain(|part| *part != Node::Constant(None));
            let decides = parts
                .iter()
                .position(|part| matches!(part, Node::Constant(_)));
            parts.truncate(decides.map_or(parts.len(), |place| place + 1));
            match parts.pop() {
                None => Node::Constant(None),
                Some(only) if parts.is_empty() => only,
                Some(last) => {
                    parts.push(last);
                    Node::Coalesce(parts)
                }
            }
        }
        Node::Case(mut branches, mut otherwise) => {
            let known = |node: &Node| match node {
                Node::Constant(Some(Constant::Bool(value))) => Some(*value),
                Node::Constant(None) => Some(false),
                _ => None,
            };
            branches.retain(|(when, _)| known(when) != Some(false));
            if let Some(place) = branches
                .iter()
                .position(|(when, _)| known(when) == Some(true))
            {
                otherwise = branches
                    .drain(place..)
                    .next()
                    .map(|(_, then)| Box::new(then));
            }
            match (branches.is_empty(), otherwise) {
                (true, None) => Node::Constant(None),
                (true, Some(otherwise)) => *otherwise,
                (false, otherwise) => Node::Case(branches, otherwise),
            }
        }
        // Nothing equals null.
        Node::Nullif(_, a, b) if [&a, &b].iter().any(|part| ***part == Node::Constant(None)) => *a,
        node => node,
    }
}

/// The value of a part that one constant of it decides.
fn decided(node: &Node) -> Option<Option<Constant>> {
    let is_null = |part: &Node| matches!(part, Node::Constant(None));
    let is = |part: &Node, value: bool| matches!(part, Node::Constant(Some(Constant::Bool(known))) if *known == value);
    let null = match node {
        Node::And(parts) if parts.iter().any(|part| is(part, false)) => {
            return Some(Some(Constant::Bool(false)));
        }
        Node::Or(parts) if parts.iter().any(|part| is(part, true)) => {
            return Some(Some(Constant::Bool(true)));
        }
        Node::Compare(_, _, a, b)
        | Node::Number(_, _, a, b)
        | Node::Time(_, a, b)
        | Node::Json(_, a, b)
        | Node::Array(_, _, a, b) => is_null(a) || is_null(b),
        Node::In(_, of, ..)
        | Node::Like(of, ..)
        | Node::Not(of)
        | Node::Negate(_, of)
        | Node::Convert(_, of)
        | Node::Extract(_, _, of) => is_null(of),
        Node::Call(function, parts) => *function != Function::Concat && parts.iter().any(is_null),
        _ => false,
    };
    null.then_some(None)
}

/// Whether the value is the same for every row.
fn is_constant(node: &Node) -> bool {
    let mut constant = true;
    node.visit(&mut |part| {
        constant &= !matches!(
            part,
            Node::Column(..)
                | Node::Member(_)
                | Node::Operation
                | Node::CommittedAt
                | Node::Became(..)
                | Node::Changed(_)
        );
    });
    constant
}
