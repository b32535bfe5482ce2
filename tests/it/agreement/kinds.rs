//! The types that columns and expressions of the test have.

use std::sync::Arc;

use walhook::mapping::language::types::{EnumType, Type};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    Bool,
    Int2,
    Int4,
    Int8,
    Numeric,
    Float4,
    Float8,
    Text,
    Varchar,
    Char,
    Mood,
    Uuid,
    Date,
    Timestamp,
    Timestamptz,
    Interval,
    Json,
    Jsonb,
    Bytea,
}

/// A scalar type, or arrays of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    pub of: Scalar,
    pub array: bool,
}

/// The enum's labels in their order, which is not that of the alphabet.
pub const MOODS: [&str; 6] = ["new", "Paid", "paid", "in transit", "don't", "ärger"];

impl Scalar {
    pub const ALL: [Scalar; 19] = [
        Scalar::Bool,
        Scalar::Int2,
        Scalar::Int4,
        Scalar::Int8,
        Scalar::Numeric,
        Scalar::Float4,
        Scalar::Float8,
        Scalar::Text,
        Scalar::Varchar,
        Scalar::Char,
        Scalar::Mood,
        Scalar::Uuid,
        Scalar::Date,
        Scalar::Timestamp,
        Scalar::Timestamptz,
        Scalar::Interval,
        Scalar::Json,
        Scalar::Jsonb,
        Scalar::Bytea,
    ];

    /// As the generator's forms and the columns name it.
    pub fn name(self) -> &'static str {
        match self {
            Scalar::Bool => "bool",
            Scalar::Int2 => "int2",
            Scalar::Int4 => "int4",
            Scalar::Int8 => "int8",
            Scalar::Numeric => "numeric",
            Scalar::Float4 => "float4",
            Scalar::Float8 => "float8",
            Scalar::Text => "text",
            Scalar::Varchar => "varchar",
            Scalar::Char => "char",
            Scalar::Mood => "mood",
            Scalar::Uuid => "uuid",
            Scalar::Date => "date",
            Scalar::Timestamp => "timestamp",
            Scalar::Timestamptz => "timestamptz",
            Scalar::Interval => "interval",
            Scalar::Json => "json",
            Scalar::Jsonb => "jsonb",
            Scalar::Bytea => "bytea",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scalar| scalar.name() == name)
    }

    pub fn is_number(self) -> bool {
        matches!(
            self,
            Scalar::Int2
                | Scalar::Int4
                | Scalar::Int8
                | Scalar::Numeric
                | Scalar::Float4
                | Scalar::Float8
        )
    }

    fn r#type(self) -> Type {
        match self {
            Scalar::Bool => Type::Bool,
            Scalar::Int2 => Type::Int2,
            Scalar::Int4 => Type::Int4,
            Scalar::Int8 => Type::Int8,
            Scalar::Numeric => Type::Numeric,
            Scalar::Float4 => Type::Float4,
            Scalar::Float8 => Type::Float8,
            Scalar::Text => Type::Text,
            Scalar::Varchar => Type::Varchar,
            Scalar::Char => Type::Char,
            Scalar::Mood => Type::Enum(Arc::new(EnumType {
                name: "mood".to_owned(),
                labels: MOODS.map(str::to_owned).to_vec(),
            })),
            Scalar::Uuid => Type::Uuid,
            Scalar::Date => Type::Date,
            Scalar::Timestamp => Type::Timestamp,
            Scalar::Timestamptz => Type::Timestamptz,
            Scalar::Interval => Type::Interval,
            Scalar::Json => Type::Json,
            Scalar::Jsonb => Type::Jsonb,
            Scalar::Bytea => Type::Bytea,
        }
    }
}

impl Kind {
    pub const fn one(of: Scalar) -> Self {
        Kind { of, array: false }
    }

    pub const fn many(of: Scalar) -> Self {
        Kind { of, array: true }
    }

    pub fn r#type(self) -> Type {
        match self.array {
            true => Type::Array(Box::new(self.of.r#type())),
            false => self.of.r#type(),
        }
    }

    pub fn sql(self) -> String {
        let of = match self.of {
            Scalar::Char => "char(5)",
            of => of.name(),
        };
        format!("{of}{}", if self.array { "[]" } else { "" })
    }

    pub fn has_equality(self) -> bool {
        self.of != Scalar::Json
    }

    pub fn has_order(self) -> bool {
        let times = [
            Scalar::Mood,
            Scalar::Uuid,
            Scalar::Date,
            Scalar::Timestamp,
            Scalar::Timestamptz,
            Scalar::Interval,
        ];
        !self.array && (self.of.is_number() || times.contains(&self.of))
    }
}
