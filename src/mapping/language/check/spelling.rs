//! How a part of the source stands in the right spelling that a message gives.

use crate::mapping::language::error::Span;
use crate::mapping::language::program::{JsonOperation, Node};
use crate::mapping::language::syntax::{Expr, Kind};
use crate::mapping::language::types::Type;

use super::{Checker, Typed};

impl Checker<'_> {
    /// The part as it was written.
    pub(super) fn plain(&self, at: &Span) -> String {
        self.show(at).trim_matches('`').to_owned()
    }

    /// The part as `::` and `->>` take it: in parentheses, unless it is one word, one call
    /// or stands in parentheses already.
    pub(super) fn operand(&self, at: &Span) -> String {
        let text = self.plain(at);
        let (mut depth, mut quote) = (0_u32, None);
        for c in text.chars() {
            match (quote, c) {
                (Some(open), c) if c == open => quote = None,
                (Some(_), _) => {}
                (None, '\'' | '"') => quote = Some(c),
                (None, '(') => depth += 1,
                (None, ')') => depth = depth.saturating_sub(1),
                (None, c) if depth > 0 || c.is_alphanumeric() || matches!(c, '_' | '.' | ':') => {}
                _ => return format!("({text})"),
            }
        }
        text
    }

    /// The json as a text: by `->>` instead of `->`, or a member of it.
    pub(super) fn as_text(&self, of: &Typed) -> String {
        let text = self.plain(&of.at);
        let inner = match text
            .strip_prefix('(')
            .and_then(|text| text.strip_suffix(')'))
        {
            Some(inner) if !inner.contains(['(', ')']) => inner,
            _ => &text,
        };
        let arrow = match of.node {
            Node::Json(
                JsonOperation::Member { as_text: false }
                | JsonOperation::JsonMember { as_text: false },
                ..,
            ) => "->",
            Node::Json(
                JsonOperation::Path { as_text: false } | JsonOperation::JsonPath { as_text: false },
                ..,
            ) => "#>",
            _ => return format!("{}->>'name'", self.operand(&of.at)),
        };
        match inner.rfind(arrow) {
            Some(place) => {
                let (before, behind) = inner.split_at(place + arrow.len());
                format!("{before}>{behind}")
            }
            None => format!("{inner}->>'name'"),
        }
    }

    /// The place of the operator between two parts.
    pub(super) fn operator_between(&self, a: &Typed, b: &Typed) -> Span {
        let between = self.source.get(a.at.end..b.at.start).unwrap_or_default();
        let start = a.at.end + between.len() - between.trim_start().len();
        start..start + between.trim().len()
    }

    /// What makes a text of the value, where anything does.
    pub(super) fn text_of(&self, of: &Typed) -> Option<String> {
        let operand = self.operand(&of.at);
        Some(match &of.r#type {
            _ if of.node == Node::Operation => return None,
            Type::Unknown => format!("'{operand}'"),
            number if number.is_integer() && matches!(of.node, Node::Constant(_)) => {
                format!("'{operand}'")
            }
            number if number.is_integer() => format!("{operand}::text"),
            number if number.is_float() => format!("{operand}::numeric::text"),
            Type::Numeric | Type::Enum(_) | Type::Uuid | Type::Bool | Type::Char => {
                format!("{operand}::text")
            }
            Type::Bytea => format!("encode({}, 'hex')", self.plain(&of.at)),
            Type::Json | Type::Jsonb => self.as_text(of),
            _ => return None,
        })
    }

    /// Whether the part is a name that no column has.
    pub(super) fn is_unknown_name(&self, expr: &Expr) -> bool {
        match &expr.kind {
            Kind::Name(path) => match path.as_slice() {
                [name] => {
                    self.scope.members.is_none()
                        && !self
                            .scope
                            .columns
                            .iter()
                            .any(|column| column.name == name.text)
                }
                _ => false,
            },
            _ => false,
        }
    }
}
