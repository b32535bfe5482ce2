//! Gives each name its column and each part its type, as the server's parser would
//! (`parse_expr.c`, `parse_oper.c`, `parse_coerce.c`), or refuses the expression.

use super::error::{Result, Span, SyntaxError};
use super::letters::Letters;
use super::program::Node;
use super::syntax::{Expr, Kind};
use super::types::{Collation, Column, Encoding, Type};
use super::value::Constant;

mod argument;
mod arithmetic;
mod cast;
mod change;
mod choose;
mod collation;
mod compare;
mod fold;
mod foreign;
mod function;
mod json;
mod literal;
mod member;
mod membership;
mod mismatch;
mod name;
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
    pub members: Option<Members<'a>>,
    pub encoding: Encoding,
    pub letters: &'a Letters,
}

/// What an event has.
#[derive(Clone, Copy, Debug)]
pub struct Members<'a> {
    pub names: &'a [&'a str],
    /// The members of its `data`, where they are known.
    pub data: Option<&'a [String]>,
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
    let typed = checker.expression(expr);
    // `"web"` as a value, for which `"'web'"` was meant.
    let typed = typed.map_err(|error| checker.maybe_text(error, expr))?;
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
