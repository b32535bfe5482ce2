//! `in`, `like`, `ilike` and `= any`.

use crate::mapping::language::error::{Result, Span, SyntaxError};
use crate::mapping::language::evaluate::constant_value;
use crate::mapping::language::program::{Case, Comparer, Node, Pattern, PatternPart};
use crate::mapping::language::syntax::{Expr, Kind};
use crate::mapping::language::types::Type;

use super::fold::{needs_zone, stable};
use super::unify::convert;
use super::{Checker, Typed};

impl Checker<'_> {
    pub(super) fn is_in(&mut self, of: &Expr, list: &[Expr], negated: bool) -> Result<Node> {
        if let Kind::Text(column) = &of.kind
            && list.iter().all(|item| matches!(item.kind, Kind::Text(_)))
        {
            return Err(Self::error(
                &of.at,
                format!(
                    "both sides are texts in quotes: a column is written without, {column} in (…)"
                ),
            ));
        }
        let of = self.expression(of)?;
        let mut items = Vec::with_capacity(list.len());
        for item in list {
            let typed = self
                .expression(item)
                .map_err(|error| self.maybe_text(error, item))?;
            match typed.node.constant() {
                Some(Some(_)) => items.push(typed),
                Some(None) => {
                    let way = match negated {
                        true => {
                            "with null in the list, `not in` is never true: leave it out, and write `x is not null` with `and`"
                        }
                        false => {
                            "null in the list matches nothing: leave it out, and write `x is null` with `or`"
                        }
                    };
                    return Err(Self::error(&typed.at, way));
                }
                None => {
                    let (value, item) = (self.plain(&of.at), self.plain(&typed.at));
                    let way = match typed.r#type {
                        Type::Array(_) => format!("write {value} = any({item})"),
                        _ => format!(
                            "a text is written in single quotes, '{}'; with a column write {value} = {item}, joined by `or`",
                            item.trim_matches('"')
                        ),
                    };
                    return Err(Self::error(
                        &typed.at,
                        format!(
                            "the list after `in` holds constants, and {} is none: {way}",
                            self.show(&typed.at)
                        ),
                    ));
                }
            }
        }
        let mut all: Vec<&Typed> = vec![&of];
        all.extend(&items);
        let target = match self.common(&all, "the list after `in` has constants of one type") {
            Ok(target) => target,
            // Said more clearly of the first that cannot be compared at all.
            Err(error) => {
                for item in items {
                    let at = item.at.clone();
                    let united = self.unify(of.clone(), item);
                    united.map_err(|error| SyntaxError { at, ..error })?;
                }
                return Err(error);
            }
        };
        // A date is not converted, which may fail: it is compared with timestamps as it is.
        let as_it_is = of.r#type == Type::Date && target != Type::Date;
        let (of, comparer) = match as_it_is {
            true => (of, Comparer::DateTimestamp),
            false => {
                let comparer = self.must_have(&of.at, "in", &target)?;
                (self.brought_to(of, &target)?, comparer)
            }
        };
        let mut constants = Vec::with_capacity(items.len());
        let mut is_stable = needs_zone(&of.r#type, &target);
        for item in items {
            let item = self.brought_to(item, &target)?;
            is_stable |= matches!(item.node, Node::Stable(_));
            match item.node {
                Node::Constant(Some(constant)) => constants.push(constant),
                node => {
                    let value = constant_value(&node, self.scope.letters)
                        .map_err(|reason| Self::error(&item.at, reason.to_string()))?;
                    constants.extend(value);
                }
            }
        }
        let node = Node::In(comparer, Box::new(of.node), constants, negated);
        Ok(if is_stable { stable(node) } else { node })
    }

    pub(super) fn like(
        &mut self,
        text: &Expr,
        pattern: &str,
        ignore_case: bool,
        negated: bool,
    ) -> Result<Node> {
        let word = if ignore_case { "ilike" } else { "like" };
        if let Kind::Text(column) = &text.kind {
            return Err(Self::error(
                &text.at,
                format!(
                    "both sides are texts in quotes: a column is written without, {column} {word} …"
                ),
            ));
        }
        let of = self.expression(text)?;
        let shown = self.show(&of.at);
        let shown = shown.trim_matches('`');
        let of = match &of.r#type {
            Type::Text | Type::Varchar => of,
            Type::Member => convert(of, &Type::Text),
            Type::Unknown => self.literal_as(of, &Type::Text)?,
            other => {
                let hint = match other {
                    Type::Array(_) => format!(": for an element write 'x' = any({shown})"),
                    _ if of.node == Node::Operation => ": write tg_op = 'INSERT'".to_owned(),
                    other if other.is_time() => format!(
                        ": for a range of times write {shown} >= '2024-01-01' and {shown} < '2024-02-01'"
                    ),
                    _ => match self.text_of(&of) {
                        Some(text) => format!(": write {text} {word} …"),
                        None => String::new(),
                    },
                };
                return Err(Self::error(
                    &of.at,
                    format!("`{word}` needs a text, and `{shown}` is of type {other}{hint}"),
                ));
            }
        };
        self.must_have_characters(&of.at, word)?;
        let ignore_case = match ignore_case {
            true => Some(self.must_have_letters(&of, word)?),
            false => None,
        };
        self.unknown(pattern, &of.at)?;
        Ok(Node::Like(
            Box::new(of.node),
            compiled(pattern, ignore_case),
            negated,
        ))
    }

    /// `'x' = any(data.tags)`.
    pub(super) fn any_of_member(&self, of: Typed, array: Typed) -> Result<Node> {
        let of = match &of.r#type {
            Type::Unknown => self.literal_as(of, &Type::Text)?,
            Type::Text | Type::Bool | Type::Numeric => of,
            number if number.is_number() => convert(of, &Type::Numeric),
            _ => {
                return Err(Self::error(
                    &of.at,
                    format!(
                        "{} is of type {}: expected a text, a number, true or false before `= any(…)`; of a member say which, as in (data.a)::text",
                        self.show(&of.at),
                        of.r#type
                    ),
                ));
            }
        };
        let comparer = self.must_have(&of.at, "any", &of.r#type)?;
        Ok(Node::Any(comparer, Box::new(of.node), Box::new(array.node)))
    }

    pub(super) fn any(&mut self, of: &Expr, array: &Expr, at: &Span) -> Result<Node> {
        let (of, array) = (self.expression(of)?, self.expression(array)?);
        if array.r#type == Type::Member {
            return self.any_of_member(of, array);
        }
        let array = match (&array.r#type, &of.r#type) {
            (Type::Unknown, Type::Unknown) => {
                self.literal_as(array, &Type::Array(Box::new(Type::Text)))?
            }
            (Type::Unknown, element) => {
                let target = Type::Array(Box::new(element.clone()));
                self.literal_as(array, &target)?
            }
            _ => array,
        };
        let Type::Array(element) = array.r#type.clone() else {
            let shown = self.show(&array.at);
            let hint = match array.r#type {
                Type::Jsonb => format!(
                    ": for a text in an array of json write {} ? 'x'",
                    shown.trim_matches('`')
                ),
                _ => ": compare it with `=`".to_owned(),
            };
            return Err(Self::error(
                &array.at,
                format!(
                    "`any` needs an array, and {shown} is of type {}{hint}",
                    array.r#type
                ),
            ));
        };
        let of = match of.r#type {
            Type::Unknown => self.literal_as(of, &element)?,
            _ => of,
        };
        // Elements are read as they are: the value is brought to their type.
        let fits = of.r#type == *element
            || of.r#type.is_text() && element.is_text()
            || of.r#type.is_integer() && (element.is_integer() || *element == Type::Numeric)
            || of.r#type == Type::Numeric && *element == Type::Numeric;
        if !fits {
            return Err(Self::error(
                at,
                format!(
                    "{} is of type {} and the elements of {} of type {element}: write {}",
                    self.show(&of.at),
                    of.r#type,
                    self.show(&array.at),
                    match (element.is_text(), self.text_of(&of)) {
                        (true, Some(text)) => text,
                        _ => format!("{}::{element}", self.operand(&of.at)),
                    },
                ),
            ));
        }
        let comparer = self.must_have(at, "any", &element)?;
        self.collation_of([&of, &array])?;
        let of = convert(of, &element);
        Ok(Node::Any(comparer, Box::new(of.node), Box::new(array.node)))
    }
}

/// The pattern, read once: a backslash takes what follows as it stands.
fn compiled(pattern: &str, ignore_case: Option<Case>) -> Pattern {
    let mut parts = Vec::new();
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        match c {
            '%' if parts.last() == Some(&PatternPart::Any) => {}
            '%' => parts.push(PatternPart::Any),
            '_' => parts.push(PatternPart::One),
            '\\' => parts.extend(characters.next().map(PatternPart::Literal)),
            c => parts.push(PatternPart::Literal(c)),
        }
    }
    Pattern { parts, ignore_case }
}
