//! Which type two or more parts are compared or returned as.

use crate::mapping::language::error::{Result, Span};
use crate::mapping::language::evaluate::constant_value;
use crate::mapping::language::letters::Letters;
use crate::mapping::language::program::{Comparer, Conversion, Expected, Node, NumberKind};
use crate::mapping::language::types::Type;
use crate::mapping::language::value::Constant;

use super::fold::{needs_zone, stable};
use super::literal::constant_of;
use super::{Checker, Typed};

impl Checker<'_> {
    /// Brings both sides of an operator to what it compares; `None` where it has no such
    /// operator for them.
    pub(super) fn unify(&self, left: Typed, right: Typed) -> Result<(Typed, Typed, Comparer)> {
        let (left, right) = match (&left.r#type, &right.r#type) {
            (Type::Member, Type::Member) => {
                return self.compared(left, right, Some(Comparer::Member));
            }
            (Type::Member, other) => {
                let target = member_kind(other);
                (convert(left, &target), right)
            }
            (other, Type::Member) => {
                let target = member_kind(other);
                (left, convert(right, &target))
            }
            _ => (left, right),
        };
        let (left, right) = match (&left.r#type, &right.r#type) {
            (Type::Unknown, Type::Unknown) => (
                self.literal_as(left, &Type::Text)?,
                self.literal_as(right, &Type::Text)?,
            ),
            (Type::Unknown, other) => {
                let target = other.clone();
                (self.literal_beside(left, &target, &right)?, right)
            }
            (other, Type::Unknown) => {
                let target = other.clone();
                let right = self.literal_beside(right, &target, &left)?;
                (left, right)
            }
            _ => (left, right),
        };
        let (a, b) = (&left.r#type, &right.r#type);
        let timestamps = |of: &Type| matches!(of, Type::Timestamp | Type::Timestamptz);
        if a.is_number() && b.is_number() {
            let target = operand_type(a, b);
            let (left, right) = (convert(left, &target), convert(right, &target));
            let comparer = Comparer::of(&target);
            return self.compared(left, right, comparer);
        }
        let comparer = match (a, b) {
            (Type::Char, Type::Char | Type::Varchar) | (Type::Varchar, Type::Char) => {
                Some(Comparer::Char)
            }
            (Type::Char, Type::Text) | (Type::Text, Type::Char) => {
                let (left, right) = (unpad(left), unpad(right));
                return self.compared(left, right, Some(Comparer::Text));
            }
            (a, b) if a.is_text() && b.is_text() => Some(Comparer::Text),
            (Type::Date, b) if timestamps(b) => Some(Comparer::DateTimestamp),
            (a, Type::Date) if timestamps(a) => Some(Comparer::DateTimestamp),
            (a, b) if timestamps(a) && timestamps(b) => Some(Comparer::Timestamp),
            (a, b) if a == b => Comparer::of(a),
            _ => None,
        };
        self.compared(left, right, comparer)
    }

    /// A literal that is compared with a part of the type, whose spelling a message gives.
    fn literal_beside(&self, literal: Typed, target: &Type, beside: &Typed) -> Result<Typed> {
        let (at, shown) = (literal.at.clone(), self.plain(&literal.at));
        // It is one, and is refused for another reason.
        let is_readable = match &literal.node {
            Node::Constant(Some(Constant::Text(text))) => constant_of(text, target).is_ok(),
            _ => false,
        };
        self.literal_as(literal, target).map_err(|error| match target {
            _ if is_readable => error,
            Type::Bool if matches!(beside.node, Node::Changed(_)) => Self::error(
                &at,
                format!("`changed` is true or false: for a change to a value write became(status = {shown})"),
            ),
            Type::Jsonb if !shown.starts_with("'{") && !shown.starts_with("'[") => Self::error(
                &at,
                format!(
                    "{shown} is no JSON: to compare a text write {} = {shown}",
                    self.as_text(beside)
                ),
            ),
            Type::Array(_) if !shown.starts_with("'{") && !shown.starts_with("'[") => Self::error(
                &at,
                format!(
                    "{shown} is no array: for one element write {shown} = any({})",
                    self.plain(&beside.at)
                ),
            ),
            _ => error,
        })
    }

    fn compared(
        &self,
        left: Typed,
        right: Typed,
        comparer: Option<Comparer>,
    ) -> Result<(Typed, Typed, Comparer)> {
        match comparer {
            // What a constant is converted to may have no value.
            Some(comparer) => Ok((self.fold(left)?, self.fold(right)?, comparer)),
            None => {
                let at = left.at.start..right.at.end.max(left.at.end);
                Err(Self::error(&at, self.no_comparison(&left, &right)))
            }
        }
    }

    /// The one type of several values, as `select_common_type` chooses it.
    pub(super) fn common(&self, parts: &[&Typed], what: &str) -> Result<Type> {
        let mut common: Option<&Typed> = None;
        let mut r#type = Type::Unknown;
        for part in parts {
            if part.r#type == Type::Unknown {
                continue;
            }
            let Some(first) = common else {
                common = Some(part);
                r#type = part.r#type.clone();
                continue;
            };
            match join(&r#type, &part.r#type) {
                Some(joined) => {
                    if joined == part.r#type {
                        common = Some(part);
                    }
                    r#type = joined;
                }
                None => {
                    return Err(Self::error(
                        &part.at,
                        format!(
                            "{what}: {} is of type {} and {} of type {}: cast one of them{}",
                            self.show(&first.at),
                            first.r#type,
                            self.show(&part.at),
                            part.r#type,
                            match self.text_of(first) {
                                Some(text) if part.r#type.is_number() => {
                                    format!(", as in ({text})::{}", part.r#type)
                                }
                                Some(text) => format!(", as in {text}"),
                                None => String::new(),
                            }
                        ),
                    ));
                }
            }
        }
        // Beside a constant in quotes a member of an event is a text.
        let is_quoted =
            |part: &&Typed| part.r#type == Type::Unknown && part.node != Node::Constant(None);
        Ok(match r#type {
            Type::Member if parts.iter().any(is_quoted) => Type::Text,
            Type::Unknown => Type::Text,
            r#type => r#type,
        })
    }

    /// The part as the type, which [`Checker::common`] found.
    pub(super) fn brought_to(&self, part: Typed, target: &Type) -> Result<Typed> {
        match part.r#type {
            Type::Unknown => self.literal_as(part, target),
            _ => self.fold(convert(part, target)),
        }
    }

    pub(super) fn must_have(&self, at: &Span, what: &str, r#type: &Type) -> Result<Comparer> {
        Comparer::of(r#type).ok_or_else(|| {
            Self::error(
                at,
                format!(
                    "`{what}` needs an equality, and {type} has none",
                    r#type = r#type
                ),
            )
        })
    }
}

/// What an operator on two numbers computes in.
pub(super) fn operand_type(a: &Type, b: &Type) -> Type {
    let rank = |of: &Type| match of {
        Type::Int2 => 0,
        Type::Int4 => 1,
        Type::Int8 => 2,
        Type::Numeric => 3,
        Type::Float4 => 4,
        _ => 5,
    };
    match (a, b) {
        (Type::Float4, Type::Float4) => Type::Float4,
        (a, b) if a.is_float() || b.is_float() => Type::Float8,
        (a, b) if rank(a) >= rank(b) => a.clone(),
        (_, b) => b.clone(),
    }
}

/// The type that both turn into without a cast; `None` where the server has none, or one
/// that surprises (real with numeric, char(n) with text).
fn join(a: &Type, b: &Type) -> Option<Type> {
    let rank = |of: &Type| match of {
        Type::Date => Some(0),
        Type::Timestamp => Some(1),
        Type::Timestamptz => Some(2),
        _ => None,
    };
    if a == b {
        return Some(a.clone());
    }
    match (a, b) {
        (Type::Member, other) | (other, Type::Member) => return join(&member_kind(other), other),
        _ => {}
    }
    if a.is_number() && b.is_number() {
        return match (a, b) {
            (Type::Float4, Type::Numeric) | (Type::Numeric, Type::Float4) => None,
            (Type::Float4, other) | (other, Type::Float4) if other.is_integer() => {
                Some(Type::Float4)
            }
            (a, b) => Some(operand_type(a, b)),
        };
    }
    if a.is_text() && b.is_text() {
        return Some(a.clone());
    }
    match (rank(a), rank(b)) {
        (Some(x), Some(y)) => Some(if x >= y { a.clone() } else { b.clone() }),
        _ => None,
    }
}

/// What a member of an event is to be beside a value of the type.
fn member_kind(other: &Type) -> Type {
    match other {
        Type::Bool => Type::Bool,
        number if number.is_number() => Type::Numeric,
        Type::Json | Type::Jsonb => Type::Jsonb,
        _ => Type::Text,
    }
}

/// Between types that turn into each other without a cast.
pub(super) fn convert(typed: Typed, target: &Type) -> Typed {
    let conversion = match (&typed.r#type, target) {
        (from, to) if from == to => None,
        (Type::Member, Type::Bool) => Some(Conversion::Expect(Expected::Bool)),
        (Type::Member, to) if to.is_number() => {
            let number = converted(typed.node, Conversion::Expect(Expected::Number));
            let number = Typed {
                node: number,
                r#type: Type::Numeric,
                ..typed
            };
            return convert(number, target);
        }
        (Type::Member, Type::Json | Type::Jsonb) => Some(Conversion::Expect(Expected::Jsonb)),
        (Type::Member, _) => Some(Conversion::Expect(Expected::Text)),
        (from, to) if from.is_integer() => match NumberKind::of(to) {
            Some(NumberKind::Int2 | NumberKind::Int4 | NumberKind::Int8) | None => None,
            Some(to) => Some(Conversion::IntegerTo(to)),
        },
        (Type::Numeric, to) => NumberKind::of(to).map(Conversion::NumericTo),
        (Type::Float4, to) => NumberKind::of(to).map(Conversion::Float4To),
        (Type::Date, Type::Timestamp | Type::Timestamptz) => Some(Conversion::DateToTimestamp),
        (Type::Char, Type::Text | Type::Varchar) => Some(Conversion::Unpad),
        _ => None,
    };
    let node = match conversion {
        None => typed.node,
        Some(conversion) => converted(typed.node, conversion),
    };
    let node = match typed.r#type.is_time() && needs_zone(&typed.r#type, target) {
        true => stable(node),
        false => node,
    };
    Typed {
        node,
        r#type: target.clone(),
        ..typed
    }
}

/// A constant is converted now, where that always goes well.
fn converted(node: Node, conversion: Conversion) -> Node {
    let node = Node::Convert(conversion, Box::new(node));
    let Node::Convert(_, of) = &node else {
        return node;
    };
    match &**of {
        Node::Constant(_) => match constant_value(&node, &Letters::default()) {
            Ok(value) => Node::Constant(value),
            Err(_) => node,
        },
        _ => node,
    }
}

fn unpad(typed: Typed) -> Typed {
    match typed.r#type {
        Type::Char => convert(typed, &Type::Text),
        _ => typed,
    }
}
