//! Why two parts are not compared, and what to write instead.

use crate::mapping::language::program::{Node, Version};
use crate::mapping::language::types::Type;

use super::{Checker, Typed};

impl Checker<'_> {
    pub(super) fn no_comparison(&self, left: &Typed, right: &Typed) -> String {
        let (a, b) = (self.show(&left.at), self.show(&right.at));
        let (of_a, of_b) = (&left.r#type, &right.r#type);
        if of_a == of_b {
            let hint = match of_a {
                Type::Json => {
                    format!(
                        ": json has no equality; compare a member's text, as in {} = 'x'",
                        self.as_text(left)
                    )
                }
                _ => ", but with null, as in `is null`; whether it changed says changed(column)"
                    .to_owned(),
            };
            return format!("values of type {of_a} cannot be compared{hint}");
        }
        let hint = match self
            .comparable(left, right)
            .or_else(|| self.comparable(right, left))
        {
            Some(hint) => format!(": {hint}"),
            None => String::new(),
        };
        format!("{a} is of type {of_a} and {b} of type {of_b}, which are not compared{hint}")
    }

    /// What the writer of the first of two parts, which have no comparison, may have meant.
    fn comparable(&self, one: &Typed, other: &Typed) -> Option<String> {
        let is_text = |of: &Typed| of.r#type.is_text() || of.r#type == Type::Char;
        let (a, b) = (self.operand(&one.at), self.plain(&other.at));
        let of_b = &other.r#type;
        // A word that happens to be a column, where a text was meant.
        let word = match &other.node {
            Node::Column(Version::Current, ..) if !b.contains('.') => Some(b.trim_matches('"')),
            _ => None,
        };
        Some(match (&one.r#type, of_b) {
            (Type::Enum(of), _)
                if word.is_some_and(|word| of.labels.iter().any(|label| label == word)) =>
            {
                format!(
                    "a label is written in single quotes, '{}'",
                    word.unwrap_or_default()
                )
            }
            (_, Type::Bool) if is_text(one) && word.is_some() => format!(
                "a text is written in single quotes, '{}'; to compare true and false write {a}::boolean",
                word.unwrap_or_default()
            ),
            (_, of_b) if is_text(one) && of_b.is_number() && is_literal(&other.node) => {
                match one.node {
                    Node::Json(..) => format!("write {a}::numeric"),
                    _ => format!("write '{b}' for a text, or {a}::numeric"),
                }
            }
            (_, Type::Array(of)) if **of == one.r#type || is_text(one) => {
                format!("write {} = any({b})", self.plain(&one.at))
            }
            (_, Type::Enum(_)) if is_text(one) => {
                format!("write {}::text", self.operand(&other.at))
            }
            (Type::Json | Type::Jsonb, of_b) if of_b.is_text() => format!(
                "`->` gives json and `->>` a text: write {}",
                self.as_text(one)
            ),
            (Type::Json | Type::Jsonb, of_b) if of_b.is_number() => {
                format!("write ({})::numeric", self.as_text(one))
            }
            (Type::Json | Type::Jsonb, of_b) => format!("write ({})::{of_b}", self.as_text(one)),
            (_, Type::Bytea | Type::Opaque(_)) => return None,
            (_, of_b) if is_text(one) => format!("write {a}::{of_b}"),
            (Type::Bool, of_b) if of_b.is_number() => {
                let a = self.plain(&one.at);
                format!("write {a} alone, or not {a}")
            }
            (Type::Enum(of), of_b) if of_b.is_number() => {
                let label = of.labels.first().map_or("…", String::as_str);
                format!("a label is written in quotes, as in '{label}'")
            }
            (time, of_b) if time.is_time() && of_b.is_number() && b.matches('-').count() == 2 => {
                format!("a date is written in quotes, '{b}'")
            }
            (time, of_b) if time.is_time() && of_b.is_number() => {
                format!("write extract(epoch from {})", self.plain(&one.at))
            }
            (Type::Interval, of_b) if of_b.is_number() => {
                format!(
                    "write interval '{b} days', or extract(epoch from {}) for seconds",
                    self.plain(&one.at)
                )
            }
            (Type::Uuid, of_b) if of_b.is_number() => "a uuid is written in quotes".to_owned(),
            (time, Type::Interval) if time.is_time() => {
                format!("write committed_at - {b} for a point in time")
            }
            _ => return None,
        })
    }
}

fn is_literal(node: &Node) -> bool {
    matches!(node, Node::Constant(Some(_)))
}
