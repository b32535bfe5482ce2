//! Types, as casts and constants name them.

use crate::mapping::language::error::{Result, SyntaxError};
use crate::mapping::language::syntax::TypeName;
use crate::mapping::language::token::Token;

use super::Parser;
use super::hint::unknown_type;

impl Parser<'_> {
    /// A type before a constant in quotes, as in `interval '1 day'`.
    pub(super) fn constant_type(&mut self) -> Result<Option<TypeName>> {
        let Token::Word(word) = self.peek() else {
            return Ok(None);
        };
        if let Token::Text(_) = self.peek_behind(1)
            && is_type(word)
        {
            return self.type_name().map(Some);
        }
        let (Token::Word(one), Token::Word(two)) = (self.peek_behind(1), self.peek_behind(2))
        else {
            return Ok(None);
        };
        let spelt = match (word.as_str(), one.as_str(), two.as_str()) {
            ("timestamp", "with" | "without", "time") => 4,
            _ => return Ok(None),
        };
        match self.peek_behind(spelt) {
            Token::Text(_) => self.type_name().map(Some),
            _ => Ok(None),
        }
    }

    /// A type, with the spellings that PostgreSQL takes.
    pub(super) fn type_name(&mut self) -> Result<TypeName> {
        let start = self.span();
        let Token::Word(word) = self.peek() else {
            return Err(self.refuse(format!("expected a type, met {}", self.met())));
        };
        let word = word.as_str();
        self.advance();
        let name = match word {
            "boolean" | "bool" => TypeName::Boolean,
            "smallint" | "int2" => TypeName::Smallint,
            "integer" | "int" | "int4" => TypeName::Integer,
            "bigint" | "int8" => TypeName::Bigint,
            "numeric" | "decimal" | "dec" => TypeName::Numeric,
            "real" | "float4" => TypeName::Real,
            "float8" | "float" => TypeName::Double,
            "double" if self.take("precision") => TypeName::Double,
            "text" => TypeName::Text,
            "varchar" => TypeName::Varchar,
            "character" if self.take("varying") => TypeName::Varchar,
            "uuid" => TypeName::Uuid,
            "date" => TypeName::Date,
            "timestamptz" => TypeName::Timestamptz,
            "timestamp" => self.timestamp()?,
            "interval" => TypeName::Interval,
            "json" => TypeName::Json,
            "jsonb" => TypeName::Jsonb,
            "bytea" => TypeName::Bytea,
            _ => {
                return Err(SyntaxError::new(start, unknown_type(word)));
            }
        };
        match self.peek() {
            Token::Open => {
                let hint = match name {
                    TypeName::Numeric => ": write round(x, 2) instead",
                    TypeName::Varchar => ": write left(x, 10) instead",
                    _ => "",
                };
                Err(self.refuse(format!(
                    "types take no length or precision in parentheses{hint}"
                )))
            }
            _ => Ok(name),
        }
    }

    pub(super) fn timestamp(&mut self) -> Result<TypeName> {
        let with = match self.peek() {
            Token::Word(word) if word == "with" => true,
            Token::Word(word) if word == "without" => false,
            _ => return Ok(TypeName::Timestamp),
        };
        self.advance();
        self.expect_word("time", "in the type `timestamp with time zone`")?;
        self.expect_word("zone", "in the type `timestamp with time zone`")?;
        Ok(match with {
            true => TypeName::Timestamptz,
            false => TypeName::Timestamp,
        })
    }
}

/// Whether a constant in quotes may follow the word as its type.
fn is_type(word: &str) -> bool {
    const TYPES: [&str; 22] = [
        "boolean",
        "bool",
        "smallint",
        "int2",
        "integer",
        "int",
        "int4",
        "bigint",
        "int8",
        "numeric",
        "decimal",
        "real",
        "float4",
        "float8",
        "float",
        "text",
        "varchar",
        "uuid",
        "date",
        "timestamp",
        "timestamptz",
        "interval",
    ];
    TYPES.contains(&word) || matches!(word, "json" | "jsonb" | "bytea")
}
