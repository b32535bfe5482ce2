//! What functions take, and what they say of anything else.

use crate::mapping::language::error::Result;
use crate::mapping::language::program::{Conversion, Node};
use crate::mapping::language::types::Type;

use super::unify::convert;
use super::{Checker, Typed};

impl Checker<'_> {
    /// A letter for each argument: `t` a text, `i` an integer.
    pub(super) fn arguments(
        &self,
        arguments: Vec<Typed>,
        kinds: &str,
        name: &str,
    ) -> Result<Vec<Typed>> {
        let arguments = arguments.into_iter().zip(kinds.chars());
        arguments
            .map(|(argument, kind)| match kind {
                't' => self.text_argument(argument, name),
                _ => self.integer_argument(argument, name),
            })
            .collect()
    }

    pub(super) fn text_argument(&self, argument: Typed, name: &str) -> Result<Typed> {
        // A key is compared only.
        if name != "?" {
            self.must_have_characters(&argument.at, name)?;
        }
        match argument.r#type {
            Type::Text | Type::Varchar => Ok(argument),
            Type::Unknown => self.literal_as(argument, &Type::Text),
            Type::Char | Type::Member => Ok(convert(argument, &Type::Text)),
            _ => Err(self.no_argument(name, &argument, "a text")),
        }
    }

    pub(super) fn integer_argument(&self, argument: Typed, name: &str) -> Result<Typed> {
        match argument.r#type {
            Type::Int2 | Type::Int4 => Ok(argument),
            Type::Unknown => self.literal_as(argument, &Type::Int4),
            Type::Member => Ok(convert(argument, &Type::Int4)),
            _ => Err(self.no_argument(name, &argument, "an integer")),
        }
    }

    pub(super) fn no_argument(
        &self,
        name: &str,
        argument: &Typed,
        expected: &str,
    ) -> super::SyntaxError {
        let shown = self.show(&argument.at);
        let inner = self.operand(&argument.at);
        let hint = match (&argument.r#type, expected) {
            _ if argument.node == Node::Operation => {
                ": it is compared as it stands, as in tg_op = 'INSERT'".to_owned()
            }
            (Type::Array(_), "a text") if name == "length" => {
                format!(": write cardinality({})", self.plain(&argument.at))
            }
            (Type::Json | Type::Jsonb, "an array") => format!(
                ": write {}_array_length({})",
                argument.r#type,
                self.plain(&argument.at)
            ),
            (Type::Array(_), "jsonb" | "json") => format!(": write cardinality({inner})"),
            (Type::Json | Type::Jsonb, "json" | "jsonb") => {
                format!(
                    ": write {}_array_length({})",
                    argument.r#type,
                    self.plain(&argument.at)
                )
            }
            (Type::Array(_), "a text") => format!(": for an element write 'x' = any({inner})"),
            (_, "a text") => match self.text_of(argument) {
                Some(text) => format!(": write {text}"),
                None => String::new(),
            },
            (Type::Json | Type::Jsonb, "a number") => {
                format!(": write ({})::numeric", self.as_text(argument))
            }
            (of, "a number") if of.is_text() => format!(": write {inner}::numeric"),
            (_, "an integer") => format!(": write {inner}::integer"),
            _ => String::new(),
        };
        Self::error(
            &argument.at,
            format!(
                "`{name}` takes {expected}, and {shown} is of type {}{hint}",
                argument.r#type
            ),
        )
    }

    pub(super) fn output_argument(&self, argument: Typed) -> Result<Typed> {
        self.must_have_characters(&argument.at, "concat")?;
        let conversion = match argument.r#type {
            Type::Unknown => return self.literal_as(argument, &Type::Text),
            Type::Char => {
                return Err(Self::error(
                    &argument.at,
                    format!(
                        "char(n) joins with its padding: write {}::text",
                        self.operand(&argument.at)
                    ),
                ));
            }
            Type::Timestamptz => Conversion::TimestamptzToOutput,
            _ => Conversion::ToOutput,
        };
        Ok(Typed {
            node: Node::Convert(conversion, Box::new(argument.node)),
            r#type: Type::Text,
            ..argument
        })
    }
}
