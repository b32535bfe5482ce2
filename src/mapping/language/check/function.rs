//! Functions of numbers, texts, times and json.

use crate::mapping::file::suggestion;
use crate::mapping::language::error::{Result, Span};
use crate::mapping::language::program::{Case, Function, Node, NumberKind};
use crate::mapping::language::syntax::Expr;
use crate::mapping::language::time::{TimeType, TruncField};
use crate::mapping::language::types::Type;
use crate::mapping::language::value::Constant;

use super::fold::stable;
use super::unify::convert;
use super::{Checker, Typed};

/// All functions, as they are written.
pub(super) const FUNCTIONS: [&str; 35] = [
    "abs",
    "became",
    "cardinality",
    "ceil",
    "changed",
    "coalesce",
    "concat",
    "date_trunc",
    "encode",
    "extract",
    "floor",
    "greatest",
    "json_array_length",
    "jsonb_array_length",
    "least",
    "left",
    "length",
    "lower",
    "ltrim",
    "nullif",
    "position",
    "replace",
    "right",
    "round",
    "rtrim",
    "split_part",
    "starts_with",
    "strpos",
    "substring",
    "trim",
    "trunc",
    "upper",
    "cast",
    "case",
    "any",
];

impl Checker<'_> {
    pub(super) fn call(&mut self, name: &str, arguments: &[Expr], at: &Span) -> Result<Typed> {
        match name {
            "date_trunc"
                if let [field, of] = arguments
                    && self.is_unknown_name(field) =>
            {
                let (field, of) = (self.plain(&field.at), self.plain(&of.at));
                return Err(Self::error(
                    at,
                    format!(
                        "the field of `date_trunc` is a text in quotes: write date_trunc('{field}', {of})"
                    ),
                ));
            }
            "coalesce" => return self.coalesce(arguments, at),
            "greatest" | "least" => return self.extreme(name, arguments, at),
            "nullif" => return self.nullif(arguments, at),
            _ if !FUNCTIONS.contains(&name) && name != "ceiling" => {
                return Err(Self::error(at, self.no_function(name, arguments)));
            }
            _ => {}
        }
        let typed: Vec<Typed> = arguments
            .iter()
            .map(|argument| self.expression(argument))
            .collect::<Result<_>>()?;
        let collation = self.collation_of(&typed)?;
        let (function, arguments, r#type) = self.function(name, typed, at)?;
        let collation = collation.filter(|_| r#type == Type::Text);
        let nodes = arguments
            .into_iter()
            .map(|argument| argument.node)
            .collect();
        let is_stable = matches!(
            function,
            Function::Concat | Function::DateTrunc(_, TimeType::Timestamptz)
        );
        let node = Node::Call(function, nodes);
        Ok(Typed {
            node: if is_stable { stable(node) } else { node },
            r#type,
            at: at.clone(),
            collation,
        })
    }

    fn function(
        &mut self,
        name: &str,
        arguments: Vec<Typed>,
        at: &Span,
    ) -> Result<(Function, Vec<Typed>, Type)> {
        let texts = |checker: &Self, arguments: Vec<Typed>| -> Result<Vec<Typed>> {
            let texts = arguments.into_iter();
            texts
                .map(|argument| checker.text_argument(argument, name))
                .collect()
        };
        let count = |least: usize, most: usize, arguments: &[Typed]| match (least..=most)
            .contains(&arguments.len())
        {
            true => Ok(()),
            false => Err(Self::error(at, usage(name, arguments.len()))),
        };
        Ok(match name {
            "lower" | "upper" => {
                count(1, 1, &arguments)?;
                let case = match arguments.as_slice() {
                    [argument] => self.must_have_letters(argument, name)?,
                    _ => Case::Database,
                };
                let function = if name == "lower" {
                    Function::Lower(case)
                } else {
                    Function::Upper(case)
                };
                (function, texts(self, arguments)?, Type::Text)
            }
            "length" => {
                count(1, 1, &arguments)?;
                match arguments.first().map(|argument| &argument.r#type) {
                    Some(Type::Bytea) => (Function::ByteaLength, arguments, Type::Int4),
                    _ => (Function::Length, texts(self, arguments)?, Type::Int4),
                }
            }
            "trim" | "ltrim" | "rtrim" => {
                count(1, 2, &arguments)?;
                let function = Function::Trim {
                    left: name != "rtrim",
                    right: name != "ltrim",
                };
                (function, texts(self, arguments)?, Type::Text)
            }
            "left" | "right" => {
                count(2, 2, &arguments)?;
                let function = if name == "left" {
                    Function::Left
                } else {
                    Function::Right
                };
                (function, self.arguments(arguments, "ti", name)?, Type::Text)
            }
            "substring" => {
                count(2, 3, &arguments)?;
                (
                    Function::Substring,
                    self.arguments(arguments, "tii", name)?,
                    Type::Text,
                )
            }
            "split_part" => {
                count(3, 3, &arguments)?;
                (
                    Function::SplitPart,
                    self.arguments(arguments, "tti", name)?,
                    Type::Text,
                )
            }
            "replace" => {
                count(3, 3, &arguments)?;
                (Function::Replace, texts(self, arguments)?, Type::Text)
            }
            "starts_with" => {
                count(2, 2, &arguments)?;
                (Function::StartsWith, texts(self, arguments)?, Type::Bool)
            }
            "strpos" | "position" => {
                count(2, 2, &arguments)?;
                (Function::Strpos, texts(self, arguments)?, Type::Int4)
            }
            "concat" => {
                count(1, 64, &arguments)?;
                let outputs = arguments
                    .into_iter()
                    .map(|argument| self.output_argument(argument));
                (
                    Function::Concat,
                    outputs.collect::<Result<_>>()?,
                    Type::Text,
                )
            }
            "abs" | "round" | "trunc" | "floor" | "ceil" | "ceiling" => {
                let most = if matches!(name, "round" | "trunc") {
                    2
                } else {
                    1
                };
                count(1, most, &arguments)?;
                self.number_function(name, arguments, at)?
            }
            "date_trunc" => {
                count(2, 2, &arguments)?;
                self.date_trunc(arguments, at)?
            }
            "jsonb_array_length" | "json_array_length" => {
                count(1, 1, &arguments)?;
                let target = if name == "jsonb_array_length" {
                    Type::Jsonb
                } else {
                    Type::Json
                };
                for argument in &arguments {
                    if argument.r#type != target {
                        return Err(self.no_argument(name, argument, &target.to_string()));
                    }
                }
                (Function::JsonArrayLength, arguments, Type::Int4)
            }
            "cardinality" => {
                count(1, 1, &arguments)?;
                for argument in &arguments {
                    if !matches!(argument.r#type, Type::Array(_)) {
                        return Err(self.no_argument(name, argument, "an array"));
                    }
                }
                (Function::Cardinality, arguments, Type::Int4)
            }
            "encode" => {
                count(2, 2, &arguments)?;
                self.encode(arguments, at)?
            }
            _ => return Err(Self::error(at, usage(name, arguments.len()))),
        })
    }

    fn number_function(
        &self,
        name: &str,
        mut arguments: Vec<Typed>,
        at: &Span,
    ) -> Result<(Function, Vec<Typed>, Type)> {
        if arguments.len() == 2 {
            let digits = arguments
                .pop()
                .into_iter()
                .map(|digits| self.integer_argument(digits, name));
            let digits: Vec<Typed> = digits.collect::<Result<_>>()?;
            let of = arguments.pop().into_iter().map(|of| match of.r#type {
                Type::Unknown => self.literal_as(of, &Type::Numeric),
                Type::Numeric => Ok(of),
                Type::Member => Ok(convert(of, &Type::Numeric)),
                ref number if number.is_integer() => Ok(convert(of, &Type::Numeric)),
                ref number if number.is_float() => Err(Self::error(
                    at,
                    format!(
                        "`{name}` with digits takes numeric: write {name}({}::numeric, 2)",
                        self.operand(&of.at)
                    ),
                )),
                _ => Err(self.no_argument(name, &of, "a number")),
            });
            let mut both: Vec<Typed> = of.collect::<Result<_>>()?;
            both.extend(digits);
            let function = match name {
                "round" => Function::Round(NumberKind::Numeric),
                _ => Function::Trunc(NumberKind::Numeric),
            };
            return Ok((function, both, Type::Numeric));
        }
        let Some(of) = arguments.pop() else {
            return Err(Self::error(at, usage(name, 0)));
        };
        let of = match of.r#type {
            Type::Member => convert(of, &Type::Numeric),
            _ => of,
        };
        if !of.r#type.is_number() {
            return Err(self.no_argument(name, &of, "a number"));
        }
        // Of integers there is only abs; the others are those of double precision.
        let target = match (&of.r#type, name) {
            (number, "abs") => number.clone(),
            (Type::Numeric, _) => Type::Numeric,
            _ => Type::Float8,
        };
        let of = convert(of, &target);
        let Some(kind) = NumberKind::of(&target) else {
            return Err(self.no_argument(name, &of, "a number"));
        };
        let function = match name {
            "abs" => Function::Abs(kind),
            "round" => Function::Round(kind),
            "trunc" => Function::Trunc(kind),
            "floor" => Function::Floor(kind),
            _ => Function::Ceil(kind),
        };
        Ok((function, vec![of], target))
    }

    fn date_trunc(
        &self,
        mut arguments: Vec<Typed>,
        at: &Span,
    ) -> Result<(Function, Vec<Typed>, Type)> {
        let (Some(of), Some(field)) = (arguments.pop(), arguments.pop()) else {
            return Err(Self::error(at, usage("date_trunc", 0)));
        };
        let Node::Constant(Some(Constant::Text(text))) = &field.node else {
            return Err(Self::error(
                &field.at,
                "the field of `date_trunc` is a text in quotes, as in date_trunc('day', created_at)",
            ));
        };
        const FIELDS: [&str; 8] = [
            "year", "quarter", "month", "week", "day", "hour", "minute", "second",
        ];
        let Some(parsed) = TruncField::parse(text) else {
            return Err(Self::error(
                &field.at,
                format!(
                    "there is no field '{text}'{}: there are {}",
                    suggestion(text, FIELDS),
                    FIELDS.join(", ")
                ),
            ));
        };
        let (of, kind, r#type) = match of.r#type {
            Type::Date => (
                convert(of, &Type::Timestamptz),
                TimeType::Timestamptz,
                Type::Timestamptz,
            ),
            Type::Timestamp => (of, TimeType::Timestamp, Type::Timestamp),
            Type::Timestamptz => (of, TimeType::Timestamptz, Type::Timestamptz),
            _ => return Err(self.no_argument("date_trunc", &of, "a date or timestamp")),
        };
        Ok((Function::DateTrunc(parsed, kind), vec![of], r#type))
    }

    fn encode(&self, mut arguments: Vec<Typed>, at: &Span) -> Result<(Function, Vec<Typed>, Type)> {
        let (Some(format), Some(of)) = (arguments.pop(), arguments.pop()) else {
            return Err(Self::error(at, usage("encode", 0)));
        };
        let of = match of.r#type {
            Type::Bytea => of,
            Type::Unknown => self.literal_as(of, &Type::Bytea)?,
            _ => return Err(self.no_argument("encode", &of, "a bytea")),
        };
        let base64 = match &format.node {
            Node::Constant(Some(Constant::Text(text))) if text.eq_ignore_ascii_case("hex") => false,
            Node::Constant(Some(Constant::Text(text))) if text.eq_ignore_ascii_case("base64") => {
                true
            }
            _ => {
                return Err(Self::error(
                    &format.at,
                    "the format of `encode` is 'hex' or 'base64'",
                ));
            }
        };
        Ok((Function::Encode { base64 }, vec![of], Type::Text))
    }
}

pub(super) fn usage(name: &str, given: usize) -> String {
    let usage = match name {
        "lower" | "upper" | "length" | "abs" | "floor" | "ceil" | "ceiling" | "cardinality"
        | "jsonb_array_length" | "json_array_length" => format!("{name}(x)"),
        "trim" | "ltrim" | "rtrim" => format!("{name}(x) or {name}(x, 'characters')"),
        "left" | "right" => format!("{name}(x, 3)"),
        "substring" => "substring(x from 1 for 3)".to_owned(),
        "split_part" => "split_part(x, ',', 1)".to_owned(),
        "replace" => "replace(x, 'from', 'to')".to_owned(),
        "starts_with" => "starts_with(x, 'begin')".to_owned(),
        "strpos" => "strpos(whole, 'part')".to_owned(),
        "position" => "position('part' in whole)".to_owned(),
        "round" | "trunc" => format!("{name}(x) or {name}(x, 2)"),
        "date_trunc" => "date_trunc('day', x)".to_owned(),
        "encode" => "encode(x, 'hex')".to_owned(),
        "nullif" => "nullif(x, '')".to_owned(),
        "extract" => "extract(year from x)".to_owned(),
        "cast" => "cast(x as integer)".to_owned(),
        "case" => "case when condition then value else other end".to_owned(),
        "any" => "value = any(array)".to_owned(),
        name => format!("{name}(a, b)"),
    };
    let plural = if given == 1 { "" } else { "s" };
    format!("`{name}` is written {usage}; it was given {given} argument{plural}")
}
