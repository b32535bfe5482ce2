//! `x::type` and `cast(x as type)`.

use crate::mapping::language::error::{Result, Span};
use crate::mapping::language::program::{Conversion, Expected, Node, NumberKind};
use crate::mapping::language::syntax::TypeName;
use crate::mapping::language::types::{Encoding, Type};

use super::fold::{needs_zone, stable};
use super::unify::convert;
use super::{Checker, Typed};

impl Checker<'_> {
    pub(super) fn cast(&self, of: Typed, name: TypeName, at: &Span) -> Result<Typed> {
        let target = Type::from(name);
        if of.r#type == Type::Unknown {
            return self.literal_as(of, &target);
        }
        if matches!(of.node, Node::Operation) {
            return Err(Self::error(
                at,
                "`tg_op` is compared as it stands: write tg_op = 'INSERT'",
            ));
        }
        if of.r#type == Type::Member {
            return self.cast_member(of, &target, at);
        }
        let Some(steps) = conversions(&of.r#type, &target) else {
            return Err(Self::error(at, self.no_cast(&of, &target)));
        };
        // Its escapes would be characters.
        if target == Type::Jsonb && of.r#type != Type::Jsonb {
            self.must_have_characters(at, "::jsonb")?;
        }
        let node = steps
            .into_iter()
            .fold(of.node, |node, step| Node::Convert(step, Box::new(node)));
        let node = match is_stable(&of.r#type, &target) {
            true => stable(node),
            false => node,
        };
        let node = match (&target, self.scope.encoding) {
            (Type::Jsonb, encoding) if encoding != Encoding::Utf8 && of.r#type != Type::Jsonb => {
                Node::Convert(Conversion::JsonbIn(encoding), Box::new(node))
            }
            _ => node,
        };
        Ok(Typed {
            node,
            collation: of.collation.filter(|_| target.is_text()),
            r#type: target,
            at: at.clone(),
        })
    }

    /// A member of an event: numbers become numbers, texts what they say.
    fn cast_member(&self, of: Typed, target: &Type, at: &Span) -> Result<Typed> {
        let kind = match target {
            Type::Bool | Type::Jsonb => target.clone(),
            number if number.is_number() => target.clone(),
            _ => Type::Text,
        };
        let known = match (&kind, target) {
            (Type::Text, Type::Text | Type::Varchar) => Typed {
                node: Node::Convert(Conversion::Expect(Expected::AsText), Box::new(of.node)),
                r#type: Type::Text,
                ..of
            },
            _ => convert(of, &kind),
        };
        let Some(steps) = conversions(&known.r#type, target) else {
            return Err(Self::error(at, self.no_cast(&known, target)));
        };
        let node = steps
            .into_iter()
            .fold(known.node, |node, step| Node::Convert(step, Box::new(node)));
        Ok(Typed {
            node,
            r#type: target.clone(),
            at: at.clone(),
            collation: None,
        })
    }

    fn no_cast(&self, of: &Typed, target: &Type) -> String {
        let shown = self.show(&of.at);
        let inner = self.plain(&of.at);
        let hint = match (&of.r#type, target) {
            (Type::Bool, number) if number.is_number() => {
                format!(": write case when {inner} then 1 else 0 end")
            }
            (number, Type::Bool) if number.is_number() => format!(": write {inner} <> 0"),
            (Type::Json | Type::Jsonb, Type::Json | Type::Jsonb) => {
                format!(
                    ": take what is needed of it as it stands, as in {}",
                    self.as_text(of)
                )
            }
            (Type::Json | Type::Jsonb, Type::Text | Type::Varchar) => {
                format!(": write {}", self.as_text(of))
            }
            (Type::Json | Type::Jsonb, _) => format!(": write ({})::{target}", self.as_text(of)),
            (Type::Opaque(_), _) => {
                ": it is written as it stands, as a bare column under `data`".to_owned()
            }
            (Type::Bytea, _) => format!(": write encode({inner}, 'hex')"),
            (Type::Array(_), _) => format!(": for an element write 'x' = any({inner})"),
            (float, Type::Text) if float.is_float() => {
                format!(
                    ": write {}::numeric::text, or use the column as it is",
                    self.operand(&of.at)
                )
            }
            (time, Type::Text) if time.is_time() => {
                format!(": compare it as it is, or write extract(year from {inner})")
            }
            (Type::Enum(_), number) if number.is_number() => {
                format!(": labels are compared, in their order, as in {inner} >= 'paid'")
            }
            _ => String::new(),
        };
        format!(
            "{shown} is of type {}, which has no cast to {target}{hint}",
            of.r#type
        )
    }
}

/// Whether the server takes the cast to depend on the session's settings, or on the catalog.
fn is_stable(from: &Type, to: &Type) -> bool {
    match from {
        Type::Text | Type::Varchar | Type::Char => to.is_time() || *to == Type::Interval,
        Type::Enum(_) => true,
        from => needs_zone(from, to),
    }
}

/// The steps from one type to another; empty where the value stays as it is.
fn conversions(from: &Type, to: &Type) -> Option<Vec<Conversion>> {
    if from == to {
        return Some(Vec::new());
    }
    if let Type::Char = from {
        let mut steps = vec![Conversion::Unpad];
        steps.extend(conversions(&Type::Text, to)?);
        return Some(steps);
    }
    if from.is_text() {
        return Some(match to {
            Type::Text | Type::Varchar => Vec::new(),
            Type::Bool => vec![Conversion::TextToBool],
            Type::Uuid => vec![Conversion::TextToUuid],
            Type::Date => vec![Conversion::TextToDate],
            Type::Timestamp => vec![Conversion::TextToTimestamp],
            Type::Timestamptz => vec![Conversion::TextToTimestamptz],
            Type::Interval => vec![Conversion::TextToInterval],
            Type::Json => vec![Conversion::TextToJson],
            Type::Jsonb => vec![Conversion::TextToJsonb],
            number => vec![Conversion::TextToNumber(NumberKind::of(number)?)],
        });
    }
    if let (true, Some(kind)) = (from.is_number(), NumberKind::of(to)) {
        return Some(vec![match from {
            Type::Numeric => Conversion::NumericTo(kind),
            Type::Float4 => Conversion::Float4To(kind),
            Type::Float8 => Conversion::Float8To(kind),
            _ => Conversion::IntegerTo(kind),
        }]);
    }
    Some(match (from, to) {
        (
            Type::Int2
            | Type::Int4
            | Type::Int8
            | Type::Numeric
            | Type::Bool
            | Type::Uuid
            | Type::Enum(_),
            Type::Text | Type::Varchar,
        ) => vec![Conversion::ToText],
        (Type::Date, Type::Timestamp | Type::Timestamptz) => vec![Conversion::DateToTimestamp],
        (Type::Timestamp | Type::Timestamptz, Type::Date) => vec![Conversion::TimestampToDate],
        // In UTC.
        (Type::Timestamp, Type::Timestamptz) | (Type::Timestamptz, Type::Timestamp) => Vec::new(),
        _ => return None,
    })
}
