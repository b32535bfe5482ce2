//! The types that expressions tell apart, and what the catalog says of a column.

use std::fmt;
use std::sync::Arc;

use super::syntax::TypeName;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    Bool,
    Int2,
    Int4,
    Int8,
    Numeric,
    Float4,
    Float8,
    Text,
    Varchar,
    /// `char(n)`, which PostgreSQL pads and compares without its padding.
    Char,
    Enum(Arc<EnumType>),
    Uuid,
    Date,
    Timestamp,
    Timestamptz,
    Interval,
    Json,
    Jsonb,
    Bytea,
    Array(Box<Type>),
    /// A value that is carried and compared with null only; its name.
    Opaque(Arc<str>),
    /// A member of an event: of the kind that its JSON has.
    Member,
    /// A constant in quotes or null, before it has met its type.
    Unknown,
}

/// An enum, its labels in their order.
#[derive(Debug, PartialEq, Eq)]
pub struct EnumType {
    pub name: String,
    pub labels: Vec<String>,
}

/// How a column's texts compare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Collation {
    /// The database's own.
    #[default]
    Default,
    /// C or POSIX, by its name: of letters, only those of ASCII have upper and lower case.
    Bytes(String),
    /// Another one, by its name.
    Other(String),
    /// One under which different texts may be equal.
    Nondeterministic(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub r#type: Type,
    /// As `format_type` writes it.
    pub type_name: String,
    pub collation: Collation,
}

/// The database's encoding, as far as expressions depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    #[default]
    Utf8,
    Latin1,
    SqlAscii,
    Other,
}

impl Encoding {
    /// Whether a text of the database can hold the character. Of other encodings, ASCII
    /// alone is taken for certain.
    pub fn holds(self, c: char) -> bool {
        match self {
            Encoding::Utf8 => true,
            Encoding::Latin1 => u32::from(c) < 256,
            Encoding::SqlAscii | Encoding::Other => c.is_ascii(),
        }
    }
}

impl Type {
    pub fn is_integer(&self) -> bool {
        matches!(self, Type::Int2 | Type::Int4 | Type::Int8)
    }

    pub fn is_float(&self) -> bool {
        matches!(self, Type::Float4 | Type::Float8)
    }

    pub fn is_number(&self) -> bool {
        self.is_integer() || self.is_float() || *self == Type::Numeric
    }

    /// text and varchar, which are one to every operator.
    pub fn is_text(&self) -> bool {
        matches!(self, Type::Text | Type::Varchar)
    }

    pub fn is_time(&self) -> bool {
        matches!(self, Type::Date | Type::Timestamp | Type::Timestamptz)
    }

    /// Whether the type has an equality.
    pub fn has_equality(&self) -> bool {
        match self {
            Type::Json | Type::Opaque(_) => false,
            Type::Array(of) => of.has_equality(),
            _ => true,
        }
    }

    /// Whether values order without a collation.
    pub fn has_order(&self) -> bool {
        self.is_number()
            || self.is_time()
            || matches!(self, Type::Enum(_) | Type::Uuid | Type::Interval)
    }
}

/// The built-in types by their oids and those of their arrays (`pg_type.dat`), which are the
/// same in every database.
const BUILT_IN: [(u32, u32, Type); 18] = [
    (16, 1000, Type::Bool),
    (21, 1005, Type::Int2),
    (23, 1007, Type::Int4),
    (20, 1016, Type::Int8),
    (1700, 1231, Type::Numeric),
    (700, 1021, Type::Float4),
    (701, 1022, Type::Float8),
    (25, 1009, Type::Text),
    (1043, 1015, Type::Varchar),
    (1042, 1014, Type::Char),
    (2950, 2951, Type::Uuid),
    (1082, 1182, Type::Date),
    (1114, 1115, Type::Timestamp),
    (1184, 1185, Type::Timestamptz),
    (1186, 1187, Type::Interval),
    (114, 199, Type::Json),
    (3802, 3807, Type::Jsonb),
    (17, 1001, Type::Bytea),
];

impl Type {
    /// A built-in type; any other, whose name is given, is carried only.
    pub fn of_oid(oid: u32, name: &str) -> Type {
        for (one, array, of) in &BUILT_IN {
            if *one == oid {
                return of.clone();
            }
            if *array == oid {
                return Type::Array(Box::new(of.clone()));
            }
        }
        Type::Opaque(Arc::from(name))
    }

    /// The oid of a built-in type.
    pub fn oid(&self) -> Option<u32> {
        match self {
            Type::Array(of) => BUILT_IN
                .iter()
                .find(|known| known.2 == **of)
                .map(|known| known.1),
            of => BUILT_IN
                .iter()
                .find(|known| known.2 == *of)
                .map(|known| known.0),
        }
    }
}

impl From<TypeName> for Type {
    fn from(name: TypeName) -> Self {
        match name {
            TypeName::Boolean => Type::Bool,
            TypeName::Smallint => Type::Int2,
            TypeName::Integer => Type::Int4,
            TypeName::Bigint => Type::Int8,
            TypeName::Numeric => Type::Numeric,
            TypeName::Real => Type::Float4,
            TypeName::Double => Type::Float8,
            TypeName::Text => Type::Text,
            TypeName::Varchar => Type::Varchar,
            TypeName::Uuid => Type::Uuid,
            TypeName::Date => Type::Date,
            TypeName::Timestamp => Type::Timestamp,
            TypeName::Timestamptz => Type::Timestamptz,
            TypeName::Interval => Type::Interval,
            TypeName::Json => Type::Json,
            TypeName::Jsonb => Type::Jsonb,
            TypeName::Bytea => Type::Bytea,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::Bool => "boolean",
            Type::Int2 => "smallint",
            Type::Int4 => "integer",
            Type::Int8 => "bigint",
            Type::Numeric => "numeric",
            Type::Float4 => "real",
            Type::Float8 => "double precision",
            Type::Text => "text",
            Type::Varchar => "varchar",
            Type::Char => "char(n)",
            Type::Enum(of) => &of.name,
            Type::Uuid => "uuid",
            Type::Date => "date",
            Type::Timestamp => "timestamp",
            Type::Timestamptz => "timestamptz",
            Type::Interval => "interval",
            Type::Json => "json",
            Type::Jsonb => "jsonb",
            Type::Bytea => "bytea",
            Type::Array(of) => return write!(f, "{of}[]"),
            Type::Opaque(name) => name,
            Type::Member => "a member of the event",
            Type::Unknown => "a text in quotes",
        })
    }
}
