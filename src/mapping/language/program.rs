//! An expression whose names and types are known: what `evaluate` runs.

use std::sync::Arc;

use super::syntax::{Arithmetic, Comparison, Name, Other};
use super::time::{ExtractField, TimeType, TruncField};
use super::types::{Encoding, EnumType, Type};
use super::value::Constant;

/// Which version of a row a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The new row; of a delete, the old one.
    Current,
    New,
    Old,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// `None` is null.
    Constant(Option<Constant>),
    /// The same for every row, but by functions that are stable, not immutable: the server's
    /// planner does not know its value, and shortens nothing by it.
    Stable(Box<Node>),
    /// By its place in the columns that the expression was checked with.
    Column(Version, usize, ColumnKind),
    /// A member of the event, by the names that lead to it.
    Member(Vec<Name>),
    /// `tg_op`.
    Operation,
    CommittedAt,
    Not(Box<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
    IsNull(Box<Node>, bool),
    IsBool(Box<Node>, bool, bool),
    Compare(Comparer, Comparison, Box<Node>, Box<Node>),
    Distinct(Comparer, Box<Node>, Box<Node>, bool),
    In(Comparer, Box<Node>, Vec<Constant>, bool),
    Like(Box<Node>, Pattern, bool),
    Any(Comparer, Box<Node>, Box<Node>),
    /// Conditions with their values, in order; the value where none holds.
    Case(Vec<(Node, Node)>, Option<Box<Node>>),
    Coalesce(Vec<Node>),
    Nullif(Comparer, Box<Node>, Box<Node>),
    /// The greatest, or the least, of what is not null.
    Extreme(Comparer, bool, Vec<Node>),
    Number(Arithmetic, NumberKind, Box<Node>, Box<Node>),
    Negate(NumberKind, Box<Node>),
    Time(TimeOperation, Box<Node>, Box<Node>),
    Convert(Conversion, Box<Node>),
    Call(Function, Vec<Node>),
    Json(JsonOperation, Box<Node>, Box<Node>),
    Array(Comparer, Other, Box<Node>, Box<Node>),
    Extract(ExtractField, TimeType, Box<Node>),
    /// A condition, and the columns that it reads.
    Became(Box<Node>, Vec<usize>),
    Changed(Vec<Change>),
}

/// What `changed` compares.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Column(usize),
    /// The value in the new row and in the old one.
    Expression(Comparer, Box<Node>),
}

/// How a column's text becomes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    Bool,
    Integer,
    Numeric,
    Float4,
    Float8,
    /// As the server writes it: texts, enums, uuid, json, jsonb, arrays, bytea and others.
    Text,
    Date,
    Timestamp,
    Interval,
}

/// How two values of one type compare.
#[derive(Clone, Debug, PartialEq)]
pub enum Comparer {
    Bool,
    Integer,
    Numeric,
    /// Both kinds of float.
    Float,
    /// By bytes: text, uuid, bytea.
    Text,
    /// By bytes without trailing spaces.
    Char,
    Enum(Arc<EnumType>),
    Date,
    Timestamp,
    /// A date with a timestamp, on either side.
    DateTimestamp,
    Interval,
    Jsonb,
    Array(Box<Comparer>),
    /// Two members of an event, which are of one kind.
    Member,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberKind {
    Int2,
    Int4,
    Int8,
    Numeric,
    Float4,
    Float8,
}

/// Sums and differences of times, left operand first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeOperation {
    DateMinusDate,
    DatePlusInteger,
    DateMinusInteger,
    DatePlusInterval,
    DateMinusInterval,
    TimestampMinusTimestamp,
    TimestampPlusInterval,
    TimestampMinusInterval,
    IntervalPlusInterval,
    IntervalMinusInterval,
}

/// Which kind of JSON a member of an event is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Bool,
    Number,
    Text,
    /// Of any kind, as jsonb.
    Jsonb,
    /// A text, a number or a boolean, as a text.
    AsText,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversion {
    Expect(Expected),
    IntegerTo(NumberKind),
    NumericTo(NumberKind),
    Float4To(NumberKind),
    Float8To(NumberKind),
    /// Text to a type, as the server reads it.
    TextToBool,
    TextToNumber(NumberKind),
    TextToUuid,
    TextToDate,
    TextToTimestamp,
    TextToTimestamptz,
    TextToInterval,
    TextToJson,
    TextToJsonb,
    /// jsonb, of which the database's encoding must hold each character.
    JsonbIn(Encoding),
    /// json, of which it must hold each escape.
    JsonIn(Encoding),
    /// char(n) to text: without its padding.
    Unpad,
    /// Integers, numeric, boolean, and what is a text already.
    ToText,
    /// As the output function writes it, as `concat` takes it: boolean as `t` and `f`.
    ToOutput,
    /// The same of a timestamp with time zone.
    TimestamptzToOutput,
    DateToTimestamp,
    TimestampToDate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonOperation {
    /// `->` and `->>` of jsonb, by a name or a number.
    Member {
        as_text: bool,
    },
    /// `#>` and `#>>` of jsonb, by an array of texts.
    Path {
        as_text: bool,
    },
    /// Those of json, whose text is as it was written.
    JsonMember {
        as_text: bool,
    },
    JsonPath {
        as_text: bool,
    },
    Contains,
    ContainedIn,
    Has,
}

impl Node {
    /// The value, null included, of a part that is the same for every row.
    pub fn constant(&self) -> Option<&Option<Constant>> {
        match self {
            Node::Constant(value) => Some(value),
            Node::Stable(of) => of.constant(),
            _ => None,
        }
    }

    /// Calls for this part and all below it.
    pub fn visit(&self, call: &mut impl FnMut(&Node)) {
        call(self);
        match self {
            Node::Constant(_)
            | Node::Column(..)
            | Node::Member(_)
            | Node::Operation
            | Node::CommittedAt => {}
            Node::Stable(of)
            | Node::Not(of)
            | Node::IsNull(of, _)
            | Node::IsBool(of, ..)
            | Node::In(_, of, ..)
            | Node::Like(of, ..)
            | Node::Negate(_, of)
            | Node::Convert(_, of)
            | Node::Extract(_, _, of)
            | Node::Became(of, _) => of.visit(call),
            Node::Compare(_, _, a, b)
            | Node::Distinct(_, a, b, _)
            | Node::Any(_, a, b)
            | Node::Nullif(_, a, b)
            | Node::Number(_, _, a, b)
            | Node::Time(_, a, b)
            | Node::Json(_, a, b)
            | Node::Array(_, _, a, b) => {
                a.visit(call);
                b.visit(call);
            }
            Node::And(parts)
            | Node::Or(parts)
            | Node::Coalesce(parts)
            | Node::Extreme(_, _, parts)
            | Node::Call(_, parts) => parts.iter().for_each(|part| part.visit(call)),
            Node::Case(branches, otherwise) => {
                for (when, then) in branches {
                    when.visit(call);
                    then.visit(call);
                }
                if let Some(otherwise) = otherwise {
                    otherwise.visit(call);
                }
            }
            Node::Changed(changes) => {
                for change in changes {
                    if let Change::Expression(_, of) = change {
                        of.visit(call);
                    }
                }
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    Concatenate,
    Lower(Case),
    Upper(Case),
    Length,
    ByteaLength,
    Trim { left: bool, right: bool },
    Left,
    Right,
    Substring,
    SplitPart,
    Replace,
    Concat,
    StartsWith,
    Strpos,
    Abs(NumberKind),
    Round(NumberKind),
    Trunc(NumberKind),
    Floor(NumberKind),
    Ceil(NumberKind),
    DateTrunc(TruncField, TimeType),
    JsonArrayLength,
    Cardinality,
    Encode { base64: bool },
}

/// Which letters have upper and lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// Those that the database maps.
    Database,
    /// Those of ASCII, under the collation C.
    Ascii,
}

/// The pattern of `like`, split at what it may stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    pub parts: Vec<PatternPart>,
    /// Upper and lower case count alike.
    pub ignore_case: Option<Case>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternPart {
    /// `%`.
    Any,
    /// `_`.
    One,
    Literal(char),
}

impl NumberKind {
    pub fn of(r#type: &Type) -> Option<Self> {
        Some(match r#type {
            Type::Int2 => NumberKind::Int2,
            Type::Int4 => NumberKind::Int4,
            Type::Int8 => NumberKind::Int8,
            Type::Numeric => NumberKind::Numeric,
            Type::Float4 => NumberKind::Float4,
            Type::Float8 => NumberKind::Float8,
            _ => return None,
        })
    }
}

/// What `extract` and `date_trunc` take.
pub fn time_type(r#type: &Type) -> Option<TimeType> {
    Some(match r#type {
        Type::Date => TimeType::Date,
        Type::Timestamp => TimeType::Timestamp,
        Type::Timestamptz => TimeType::Timestamptz,
        Type::Interval => TimeType::Interval,
        _ => return None,
    })
}

impl ColumnKind {
    pub fn of(r#type: &Type) -> Self {
        match r#type {
            Type::Bool => ColumnKind::Bool,
            Type::Int2 | Type::Int4 | Type::Int8 => ColumnKind::Integer,
            Type::Numeric => ColumnKind::Numeric,
            Type::Float4 => ColumnKind::Float4,
            Type::Float8 => ColumnKind::Float8,
            Type::Date => ColumnKind::Date,
            Type::Timestamp | Type::Timestamptz => ColumnKind::Timestamp,
            Type::Interval => ColumnKind::Interval,
            Type::Text
            | Type::Varchar
            | Type::Char
            | Type::Enum(_)
            | Type::Uuid
            | Type::Json
            | Type::Jsonb
            | Type::Bytea
            | Type::Array(_)
            | Type::Opaque(_)
            | Type::Member
            | Type::Unknown => ColumnKind::Text,
        }
    }
}

impl Comparer {
    /// How values of the type compare; `None` where it has no equality.
    pub fn of(r#type: &Type) -> Option<Self> {
        Some(match r#type {
            Type::Bool => Comparer::Bool,
            Type::Int2 | Type::Int4 | Type::Int8 => Comparer::Integer,
            Type::Numeric => Comparer::Numeric,
            Type::Float4 | Type::Float8 => Comparer::Float,
            Type::Text | Type::Varchar | Type::Uuid | Type::Bytea | Type::Unknown => Comparer::Text,
            Type::Char => Comparer::Char,
            Type::Enum(of) => Comparer::Enum(Arc::clone(of)),
            Type::Date => Comparer::Date,
            Type::Timestamp | Type::Timestamptz => Comparer::Timestamp,
            Type::Interval => Comparer::Interval,
            Type::Jsonb => Comparer::Jsonb,
            Type::Array(of) => Comparer::Array(Box::new(Comparer::of(of)?)),
            Type::Member => Comparer::Member,
            Type::Json | Type::Opaque(_) => return None,
        })
    }
}
