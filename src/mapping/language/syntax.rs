//! An expression as it was written, before its names and types are known.

use super::error::Span;

#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    pub kind: Kind,
    pub at: Span,
    /// How many nodes stand above each other, this one included. `and` and `or` of many
    /// parts count once.
    pub depth: usize,
}

/// Where an operator takes a `not` before it.
pub type Negated = bool;

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Null,
    Bool(bool),
    /// Decimal digits, after folding of a unary minus perhaps with a sign.
    Number(String),
    /// A constant in quotes, which takes the type that it meets.
    Text(String),
    /// `interval '…'`, `'…'::date`: a constant in quotes with its type.
    Constant(TypeName, String),
    /// A column, or a path of names with points.
    Name(Vec<Name>),
    Minus(Box<Expr>),
    Not(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Arithmetic(Arithmetic, Box<Expr>, Box<Expr>),
    Compare(Comparison, Box<Expr>, Box<Expr>),
    Other(Other, Box<Expr>, Box<Expr>),
    IsNull(Box<Expr>, Negated),
    IsBool(Box<Expr>, bool, Negated),
    /// `is distinct from`; negated: `is not distinct from`.
    IsDistinct(Box<Expr>, Box<Expr>, Negated),
    Between(Box<Expr>, Box<Expr>, Box<Expr>, Negated),
    In(Box<Expr>, Vec<Expr>, Negated),
    Like {
        text: Box<Expr>,
        pattern: String,
        ignore_case: bool,
        negated: Negated,
    },
    /// `x = any(array)`.
    Any(Box<Expr>, Box<Expr>),
    Case {
        operand: Option<Box<Expr>>,
        branches: Vec<(Expr, Expr)>,
        otherwise: Option<Box<Expr>>,
    },
    Cast(Box<Expr>, TypeName),
    /// `x collate "C"`.
    Collate(Box<Expr>),
    Extract(String, Box<Expr>),
    Call(String, Vec<Expr>),
    Became(Box<Expr>),
    Changed(Vec<Expr>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    pub text: String,
    /// In double quotes, and so exact.
    pub quoted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Operators of one level between comparison and sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    Concatenate,
    Member,
    MemberText,
    Path,
    PathText,
    Contains,
    ContainedIn,
    Has,
    Overlaps,
}

/// The types that can be named in a cast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeName {
    Boolean,
    Smallint,
    Integer,
    Bigint,
    Numeric,
    Real,
    Double,
    Text,
    Varchar,
    Uuid,
    Date,
    Timestamp,
    Timestamptz,
    Interval,
    Json,
    Jsonb,
    Bytea,
}

impl TypeName {
    /// As PostgreSQL writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            TypeName::Boolean => "boolean",
            TypeName::Smallint => "smallint",
            TypeName::Integer => "integer",
            TypeName::Bigint => "bigint",
            TypeName::Numeric => "numeric",
            TypeName::Real => "real",
            TypeName::Double => "double precision",
            TypeName::Text => "text",
            TypeName::Varchar => "character varying",
            TypeName::Uuid => "uuid",
            TypeName::Date => "date",
            TypeName::Timestamp => "timestamp without time zone",
            TypeName::Timestamptz => "timestamp with time zone",
            TypeName::Interval => "interval",
            TypeName::Json => "json",
            TypeName::Jsonb => "jsonb",
            TypeName::Bytea => "bytea",
        }
    }
}

impl Arithmetic {
    pub fn as_str(self) -> &'static str {
        match self {
            Arithmetic::Add => "+",
            Arithmetic::Subtract => "-",
            Arithmetic::Multiply => "*",
            Arithmetic::Divide => "/",
            Arithmetic::Remainder => "%",
        }
    }
}

impl Comparison {
    pub fn as_str(self) -> &'static str {
        match self {
            Comparison::Equal => "=",
            Comparison::NotEqual => "<>",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
        }
    }

    pub fn is_order(self) -> bool {
        !matches!(self, Comparison::Equal | Comparison::NotEqual)
    }

    pub fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Comparison::Equal => order.is_eq(),
            Comparison::NotEqual => order.is_ne(),
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl Other {
    pub fn as_str(self) -> &'static str {
        match self {
            Other::Concatenate => "||",
            Other::Member => "->",
            Other::MemberText => "->>",
            Other::Path => "#>",
            Other::PathText => "#>>",
            Other::Contains => "@>",
            Other::ContainedIn => "<@",
            Other::Has => "?",
            Other::Overlaps => "&&",
        }
    }
}

impl Kind {
    pub fn children(&self) -> Vec<&Expr> {
        match self {
            Kind::Null
            | Kind::Bool(_)
            | Kind::Number(_)
            | Kind::Text(_)
            | Kind::Constant(..)
            | Kind::Name(_) => Vec::new(),
            Kind::Minus(of)
            | Kind::Not(of)
            | Kind::IsNull(of, _)
            | Kind::IsBool(of, ..)
            | Kind::Like { text: of, .. }
            | Kind::Cast(of, _)
            | Kind::Collate(of)
            | Kind::Extract(_, of)
            | Kind::Became(of) => vec![of],
            Kind::And(parts) | Kind::Or(parts) | Kind::Call(_, parts) | Kind::Changed(parts) => {
                parts.iter().collect()
            }
            Kind::Arithmetic(_, left, right)
            | Kind::Compare(_, left, right)
            | Kind::Other(_, left, right)
            | Kind::IsDistinct(left, right, _)
            | Kind::Any(left, right) => vec![left, right],
            Kind::Between(of, low, high, _) => vec![of, low, high],
            Kind::In(of, list, _) => std::iter::once(&**of).chain(list).collect(),
            Kind::Case {
                operand,
                branches,
                otherwise,
            } => operand
                .as_deref()
                .into_iter()
                .chain(branches.iter().flat_map(|(when, then)| [when, then]))
                .chain(otherwise.as_deref())
                .collect(),
        }
    }
}
