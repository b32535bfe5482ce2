//! `||` on texts, members and containment of json, and the operators of arrays.

use crate::mapping::language::error::{Result, Span};
use crate::mapping::language::program::{Conversion, Function, JsonOperation, Node};
use crate::mapping::language::syntax::{Expr, Kind, Other};
use crate::mapping::language::types::{Encoding, Type};

use super::unify::convert;
use super::{Checker, Typed};

impl Checker<'_> {
    pub(super) fn other(
        &mut self,
        operator: Other,
        left: &Expr,
        right: &Expr,
        at: &Span,
    ) -> Result<Typed> {
        self.grouped(operator, left, right)?;
        let row = self.plain(&left.at).to_lowercase();
        if matches!(row.as_str(), "new" | "old") && self.is_unknown_name(left) {
            let name = self.plain(&right.at).replace(['\'', '"'], "");
            let message = format!("a column is written {row}.{name}");
            return Err(Self::error(at, message));
        }
        let a = match self.expression(left)? {
            member if member.r#type == Type::Member && operator != Other::Concatenate => {
                convert(member, &Type::Jsonb)
            }
            a => a,
        };
        let sign = match operator {
            Other::Member | Other::MemberText => Some(operator.as_str()),
            Other::Has => Some(" ? "),
            _ => None,
        };
        if let Some(sign) = sign
            && matches!(a.r#type, Type::Json | Type::Jsonb)
            && self.is_unknown_name(right)
        {
            let name = self.plain(&right.at).replace('"', "");
            return Err(Self::error(
                &right.at,
                format!(
                    "a name within json is a text: write {}{sign}'{name}'",
                    self.plain(&left.at)
                ),
            ));
        }
        let b = self.expression(right)?;
        match operator {
            Other::Concatenate => self.concatenate(a, b, at),
            Other::Member | Other::MemberText | Other::Path | Other::PathText => {
                self.member(operator, a, b, at)
            }
            Other::Has => {
                if a.r#type != Type::Jsonb {
                    return Err(self.no_operator(operator, &a, &b, at));
                }
                let b = self.text_argument(b, "?")?;
                Ok(boolean(json(JsonOperation::Has, a, b), at))
            }
            Other::Contains | Other::ContainedIn | Other::Overlaps => {
                self.containment(operator, a, b, at)
            }
        }
    }

    /// `a || b->>'c'` takes the member of the joined text, which is hardly meant.
    fn grouped(&self, operator: Other, left: &Expr, right: &Expr) -> Result<()> {
        let is_member = matches!(
            operator,
            Other::Member | Other::MemberText | Other::Path | Other::PathText
        );
        match &left.kind {
            // With parentheses around it, the left side ends after its second part.
            Kind::Other(Other::Concatenate, first, second)
                if is_member && left.at.end == second.at.end =>
            {
                Err(Self::error(
                    &left.at,
                    format!(
                        "`||` and `{}` bind alike, from left to right: parenthesise, as in {} || ({}{}{})",
                        operator.as_str(),
                        self.operand(&first.at),
                        self.plain(&second.at),
                        operator.as_str(),
                        self.plain(&right.at),
                    ),
                ))
            }
            _ => Ok(()),
        }
    }

    fn concatenate(&self, a: Typed, b: Typed, at: &Span) -> Result<Typed> {
        let is_text = |of: &Typed| {
            of.r#type.is_text() || matches!(of.r#type, Type::Char | Type::Unknown | Type::Member)
        };
        if !is_text(&a) || !is_text(&b) {
            let other = if is_text(&a) { &b } else { &a };
            let shown = self.show(&other.at);
            let concat = format!("concat({}, {})", self.plain(&a.at), self.plain(&b.at));
            let hint = match (&other.r#type, self.text_of(other)) {
                (Type::Bool, _) => {
                    return Err(Self::error(
                        &self.operator_between(&a, &b),
                        "`||` does not join conditions: write `or`; it is for two texts",
                    ));
                }
                (Type::Json | Type::Jsonb, Some(text)) => {
                    format!(": json is not joined; for a text in it write ({text})")
                }
                (_, Some(text)) => format!(": write {text}, or {concat}"),
                (_, None) => format!(": write {concat}"),
            };
            return Err(Self::error(
                at,
                format!(
                    "`||` joins texts, and {shown} is of type {}{hint}",
                    other.r#type
                ),
            ));
        }
        let collation = self.collation_of([&a, &b])?;
        let (a, b) = (self.text_argument(a, "||")?, self.text_argument(b, "||")?);
        Ok(Typed {
            node: Node::Call(Function::Concatenate, vec![a.node, b.node]),
            r#type: Type::Text,
            at: at.clone(),
            collation,
        })
    }

    /// `->`, `->>`, `#>` and `#>>`.
    fn member(&self, operator: Other, a: Typed, b: Typed, at: &Span) -> Result<Typed> {
        let as_text = matches!(operator, Other::MemberText | Other::PathText);
        let is_path = matches!(operator, Other::Path | Other::PathText);
        let result = match (&a.r#type, as_text) {
            (Type::Json | Type::Jsonb, true) => Type::Text,
            (Type::Json | Type::Jsonb, false) => a.r#type.clone(),
            _ => return Err(self.no_operator(operator, &a, &b, at)),
        };
        let path = Type::Array(Box::new(Type::Text));
        let b = match (&b.r#type, is_path) {
            (Type::Unknown, true) => self.literal_as(b, &path)?,
            (Type::Unknown, false) => self.literal_as(b, &Type::Text)?,
            (Type::Text | Type::Varchar | Type::Int2 | Type::Int4, false) => b,
            (of, true) if *of == path => b,
            _ => return Err(self.no_operator(operator, &a, &b, at)),
        };
        let operation = match (&a.r#type, is_path) {
            (Type::Jsonb, false) => JsonOperation::Member { as_text },
            (Type::Jsonb, true) => JsonOperation::Path { as_text },
            (_, false) => JsonOperation::JsonMember { as_text },
            (_, true) => JsonOperation::JsonPath { as_text },
        };
        let a = self.within_encoding(a);
        Ok(Typed {
            r#type: result,
            collation: b.collation.clone().filter(|_| as_text),
            node: json(operation, a, b),
            at: at.clone(),
        })
    }

    /// The operators of json turn all its escapes into characters.
    fn within_encoding(&self, of: Typed) -> Typed {
        match (&of.r#type, self.scope.encoding) {
            (Type::Json, encoding) if encoding != Encoding::Utf8 => Typed {
                node: Node::Convert(Conversion::JsonIn(encoding), Box::new(of.node)),
                ..of
            },
            _ => of,
        }
    }

    fn containment(&self, operator: Other, a: Typed, b: Typed, at: &Span) -> Result<Typed> {
        let is_array = |of: &Typed| matches!(of.r#type, Type::Array(_) | Type::Member);
        if operator == Other::Overlaps && !is_array(&a) && !is_array(&b) {
            return Err(Self::error(
                &self.operator_between(&a, &b),
                "`&&` does not join conditions: write `and`; it is for two arrays",
            ));
        }
        let (a, b) = match (&a.r#type, &b.r#type) {
            (Type::Unknown, Type::Unknown) => return Err(self.no_operator(operator, &a, &b, at)),
            (Type::Unknown, other) => {
                let target = other.clone();
                (self.literal_as(a, &target)?, b)
            }
            (other, Type::Unknown) => {
                let target = other.clone();
                (a, self.literal_as(b, &target)?)
            }
            _ => (a, b),
        };
        match (&a.r#type, &b.r#type, operator) {
            (Type::Jsonb, Type::Jsonb, Other::Contains) => {
                Ok(boolean(json(JsonOperation::Contains, a, b), at))
            }
            (Type::Jsonb, Type::Jsonb, Other::ContainedIn) => {
                Ok(boolean(json(JsonOperation::ContainedIn, a, b), at))
            }
            (Type::Array(x), Type::Array(y), _) if x == y => {
                let comparer = self.must_have(at, operator.as_str(), x)?;
                let node = Node::Array(comparer, operator, Box::new(a.node), Box::new(b.node));
                Ok(boolean(node, at))
            }
            _ => Err(self.no_operator(operator, &a, &b, at)),
        }
    }

    fn no_operator(&self, operator: Other, a: &Typed, b: &Typed, at: &Span) -> super::SyntaxError {
        let (x, y) = (self.show(&a.at), self.show(&b.at));
        let sign = operator.as_str();
        let inner = self.operand(&a.at);
        let hint = match (operator, &a.r#type, &b.r#type) {
            (
                Other::Member | Other::MemberText | Other::Path | Other::PathText,
                Type::Text | Type::Varchar,
                _,
            ) => match matches!(a.node, Node::Json(..)) {
                _ if matches!(b.node, Node::Column(..)) => format!(
                    ": `->` takes a member of json; of a change write old.{} = 'a' and new.{} = 'b'",
                    inner.trim_start_matches("old.").trim_start_matches("new."),
                    inner.trim_start_matches("old.").trim_start_matches("new."),
                ),
                true => format!(
                    ": `->>` gives a text, and stands at the last step only: write {}{sign}{}",
                    self.plain(&a.at).replace("->>", "->").replace("#>>", "#>"),
                    self.plain(&b.at)
                ),
                false => format!(": write {inner}::jsonb{sign}{}", self.plain(&b.at)),
            },
            (Other::Has, Type::Array(_), _) => {
                format!(": write {} = any({inner})", self.plain(&b.at))
            }
            (Other::Has, Type::Json, _) => format!(": write ({inner}->'name') is not null"),
            (Other::Contains | Other::ContainedIn, Type::Json, _) => {
                ": json has no containment: compare members by ->>".to_owned()
            }
            (Other::Contains | Other::ContainedIn, Type::Jsonb, number) if number.is_number() => {
                format!(": json is written in quotes, '{}'", self.plain(&b.at))
            }
            (Other::Contains, Type::Array(_), _) => {
                format!(
                    ": for one element write {} = any({inner})",
                    self.plain(&b.at)
                )
            }
            (Other::Contains, Type::Text | Type::Varchar, _) => {
                format!(": for a part of a text write {inner} like '%part%'")
            }
            _ => String::new(),
        };
        Self::error(
            at,
            format!(
                "there is no `{sign}` between {} ({x}) and {} ({y}){hint}",
                a.r#type, b.r#type
            ),
        )
    }
}

fn json(operation: JsonOperation, a: Typed, b: Typed) -> Node {
    Node::Json(operation, Box::new(a.node), Box::new(b.node))
}

fn boolean(node: Node, at: &Span) -> Typed {
    Typed {
        node,
        r#type: Type::Bool,
        at: at.clone(),
        collation: None,
    }
}
