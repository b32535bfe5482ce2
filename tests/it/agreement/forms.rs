//! What expressions of each type look like. A form is a text with slots:
//!
//! - `{int4}`: an expression of the type; `{text?}`: that or a constant in quotes, which
//!   takes its type from what it meets; `{'text}`: such a constant.
//! - `{number}`, `{integer}`, `{string}`, `{time}`: of one of several types, chosen for
//!   each slot.
//! - `{eq}`, `{scalar}`, `{order}`, `{any}`: of a type chosen for the whole form: with
//!   equality, with equality and no array, with order, any. `{scalar[]}`: an array of it.
//! - `{same}`: of the form's own type.
//! - `{constant}`: a condition without columns.
//! - others: a constant or an operator of a list of their own (see `generator`).

use super::kinds::Scalar;

const BOOL: &[&str] = &[
    "{bool} and {bool}",
    "{bool} or {bool}",
    "{bool} and {bool} and {bool}",
    "{bool} or {bool} or {bool}",
    "not {bool}",
    "{any} is null",
    "{any} is not null",
    "{bool} is true",
    "{bool} is not true",
    "{bool} is false",
    "{bool} is not false",
    "{eq} {equal} {eq?}",
    "{eq?} {equal} {eq}",
    "{eq} is distinct from {eq?}",
    "{eq} is not distinct from {eq}",
    "{scalar} in ({'scalar}, {'scalar}, {'scalar})",
    "{eq} not in ({'eq}, {'eq})",
    "{order} {compare} {order?}",
    "{order?} {compare} {order}",
    "{order} between {order?} and {order?}",
    "{order} not between {order} and {order?}",
    "{number} {compare} {number}",
    "{number} {compare} {number}",
    "{number} is distinct from {number}",
    "{number} {compare} {digits}",
    "{digits} {compare} {number}",
    "{number} between {digits} and {number}",
    "{integer} between {integer} and {float8}",
    "{integer} in ({'int4}, {'int8}, {'numeric})",
    "{numeric} in ({'int4}, {'numeric})",
    "{time} {compare} {time}",
    "{time} is not distinct from {time}",
    "{time} between {time} and {time}",
    "{string} {equal} {string?}",
    "{string} {equal} {string}",
    "{string} is distinct from {string}",
    "{string} in ({'text}, {'text})",
    "{string} collate \"C\" {compare} {string?}",
    "{string} {compare} {string} collate \"C\"",
    "{text} collate \"C\" between {text?} and {text?}",
    "{text} like {pattern}",
    "{varchar} not like {pattern}",
    "{text} ilike {pattern}",
    "{text} not ilike {pattern}",
    "{scalar} = any({scalar[]})",
    "{scalar} = any({'scalar[]})",
    "{'scalar} = any({scalar[]})",
    "{integer} = any({numeric[]})",
    "{int2} = any({int4[]})",
    "{int8} = any({int2[]})",
    "{varchar} = any({text[]})",
    "{scalar[]} @> {scalar[]?}",
    "{scalar[]} <@ {scalar[]?}",
    "{scalar[]} && {scalar[]?}",
    "{scalar[]} {equal} {scalar[]?}",
    "{jsonb} @> {jsonb?}",
    "{jsonb?} <@ {jsonb}",
    "{jsonb} ? {key}",
    "{jsonb} ? {text}",
    "{jsonb} {equal} {jsonb?}",
    "starts_with({text}, {text?})",
    "{time} in ({moment}, {moment})",
    "{date} not in ({moment}, {'date})",
    "tg_op = {operation}",
    "tg_op in ({operation}, {operation})",
    "tg_op is distinct from {operation}",
    "{timestamptz} {compare} committed_at",
    "committed_at between {time} and {time}",
    "{text}::boolean",
    "{char}::boolean",
    "({jsonb} ->> {key})::boolean",
    "1 / {int4} = 1 and {constant}",
    "1 / {int4} = 1 or {constant}",
    "{bool} and {constant}",
    "case when {constant} then {bool} else 1 / {int4} = 1 end",
];

const INT2: &[&str] = &[
    "{int2} {arith} {int2}",
    "{number}::smallint",
    "abs({int2})",
    "-{int2}",
    "{text}::smallint",
    "cast({number} as int2)",
];

const INT4: &[&str] = &[
    "{int4} {arith} {int4}",
    "{int4} {arith} {int2}",
    "{int4} {arith} {digits}",
    "{digits}::integer",
    "{int2} {arith} {int4?}",
    "{int4?} {arith} {int4}",
    "-{int4}",
    "abs({int4})",
    "length({string})",
    "length({bytea})",
    "position({text?} in {text})",
    "strpos({text}, {string?})",
    "cardinality({scalar[]})",
    "jsonb_array_length({jsonb})",
    "json_array_length({json})",
    "{date} - {date}",
    "{number}::integer",
    "{number}::int4",
    "cast({text} as integer)",
    "{char}::int",
    "({jsonb} ->> {key})::int",
];

const INT8: &[&str] = &[
    "{int8} {arith} {int8}",
    "{int8} {arith} {int4}",
    "{int2} {arith} {int8}",
    "abs({int8})",
    "-{int8}",
    "{number}::bigint",
    "{text}::int8",
];

const NUMERIC: &[&str] = &[
    "{numeric} {arith} {numeric}",
    "{numeric} {arith} {integer}",
    "{integer} {arith} {numeric}",
    "{numeric} {arith} {numeric?}",
    "{numeric} {arith} {digits}",
    "{digits} {arith} {numeric}",
    "{integer} {arith} {digits}",
    "round({digits}, {small})",
    "-{numeric}",
    "abs({numeric})",
    "round({numeric})",
    "round({numeric}, {small})",
    "round({integer}, {small})",
    "trunc({numeric})",
    "trunc({numeric}, {small})",
    "floor({numeric})",
    "ceil({numeric})",
    "ceiling({numeric})",
    "{number}::numeric",
    "{text}::numeric",
    "cast({number} as decimal)",
    "({jsonb} ->> {key})::numeric",
    "({json} #>> {path})::numeric",
    "extract({field} from {timestamp})",
    "extract({field} from {timestamptz})",
    "extract({dayfield} from {date})",
    "extract(epoch from {interval})",
    "extract({field} from {interval})",
];

const FLOAT4: &[&str] = &[
    "{float4} {sum} {float4}",
    "{float4} {sum} {float4}",
    "abs({float4})",
    "-{float4}",
    "{number}::real",
    "{text}::float4",
];

const FLOAT8: &[&str] = &[
    "{float8} {sum} {float8}",
    "{float8} {sum} {number}",
    "{number} {sum} {float8}",
    "{float4} {sum} {integer}",
    "{float4} {sum} {numeric}",
    "{float8?} {sum} {float8}",
    "{float8} {sum} {digits}",
    "{float4} {sum} {digits}",
    "round({digits}::float8)",
    "-{float8}",
    "abs({float8})",
    "round({float8})",
    "round({integer})",
    "trunc({float8})",
    "floor({float4})",
    "ceil({integer})",
    "floor({float8})",
    "{number}::double precision",
    "{text}::float8",
];

const TEXT: &[&str] = &[
    "{string} || {string?}",
    "{string?} || {text}",
    "{text} || {text} || {text?}",
    "lower({string})",
    "upper({string})",
    "trim({string})",
    "ltrim({text})",
    "rtrim({text})",
    "trim({text}, {text?})",
    "ltrim({text}, {text?})",
    "rtrim({text}, {text?})",
    "left({string}, {small})",
    "right({text}, {small})",
    "left({text}, {int4})",
    "right({text}, {int4})",
    "substring({string} from {small})",
    "substring({text} from {small} for {small})",
    "substring({text}, {int4}, {int4})",
    "substring({text} from {int2} for {int4})",
    "split_part({text}, {text?}, {small})",
    "split_part({text}, {'text}, {int4})",
    "replace({text}, {text?}, {text?})",
    "concat({any}, {text?}, {eq})",
    "concat({eq})",
    "{jsonb} ->> {key}",
    "{jsonb} ->> {text}",
    "{jsonb} ->> {small}",
    "{jsonb} -> {key} ->> {key}",
    "{json} ->> {key}",
    "{json} ->> {small}",
    "{jsonb} #>> {path}",
    "{json} #>> {path}",
    "{jsonb} #>> {text[]}",
    "encode({bytea}, {encoding})",
    "{integer}::text",
    "{numeric}::text",
    "{bool}::text",
    "{uuid}::text",
    "{mood}::text",
    "{string}::text",
    "cast({mood} as text)",
];

const JSON: &[&str] = &[
    "{json} -> {key}",
    "{json} -> {small}",
    "{json} #> {path}",
    "{text}::json",
];

const JSONB: &[&str] = &[
    "{jsonb} -> {key}",
    "{jsonb} -> {small}",
    "{jsonb} -> {int4}",
    "{jsonb} #> {path}",
    "{jsonb} -> {key} -> {key}",
    "{text}::jsonb",
];

const DATE: &[&str] = &[
    "committed_at::date",
    "{date} + {int4}",
    "{int4} + {date}",
    "{date} - {int2}",
    "{timestamp}::date",
    "{timestamptz}::date",
    "{text}::date",
    "{date} - {small}",
];

const TIMESTAMP: &[&str] = &[
    "{timestamp} + {interval}",
    "{timestamp} - {interval}",
    "{interval} + {timestamp}",
    "{date} + {interval}",
    "{interval} + {date}",
    "{date} - {interval}",
    "{date}::timestamp",
    "{timestamptz}::timestamp",
    "{text}::timestamp",
    "date_trunc({trunc}, {timestamp})",
];

const TIMESTAMPTZ: &[&str] = &[
    "{timestamptz} + {interval}",
    "{timestamptz} - {interval}",
    "{interval} + {timestamptz}",
    "{date}::timestamptz",
    "{timestamp}::timestamptz",
    "{text}::timestamptz",
    "date_trunc({trunc}, {timestamptz})",
    "date_trunc({trunc}, {date})",
    "cast({timestamp} as timestamp with time zone)",
    "committed_at + {interval}",
    "committed_at",
];

const INTERVAL: &[&str] = &[
    "{timestamp} - {timestamp}",
    "{timestamptz} - {timestamptz}",
    "{timestamptz} - {timestamp}",
    "{timestamp} - {date}",
    "{date} - {timestamptz}",
    "{interval} + {interval}",
    "{interval} - {interval}",
    "committed_at - {time}",
    "{text}::interval",
];

/// For types with equality.
pub const EQUAL: &[&str] = &[
    "nullif({same}, {same?})",
    "nullif({same?}, {same})",
    "nullif({same}, {same})",
];
/// For types with order.
pub const ORDERED: &[&str] = &[
    "greatest({same}, {same?})",
    "least({same}, {same}, {same?})",
];
/// For every type.
pub const EVERY: &[&str] = &[
    "coalesce({same}, {same?})",
    "coalesce({same}, {same}, {same})",
    "case when {bool} then {same} else {same?} end",
    "case when {bool} then {same?} when {bool} then {same} end",
    "case {scalar} when {scalar?} then {same} else {same} end",
    "case {scalar} when {'scalar} then {same} when {scalar} then {same} end",
];

/// Across types that turn into each other.
pub const NUMBERS: &[&str] = &[
    "coalesce({integer}, {same})",
    "case when {bool} then {integer} else {same} end",
    "greatest({same}, {integer})",
    "nullif({same}, {integer})",
    "nullif({integer}, {same})",
    "nullif({float4}, {float8})",
    "nullif({int2}, {int4})",
];
pub const TIMES: &[&str] = &[
    "coalesce({date}, {same})",
    "nullif({same}, {time})",
    "greatest({date}, {same})",
    "case when {bool} then {date} else {same} end",
];

pub fn of(scalar: Scalar) -> &'static [&'static str] {
    match scalar {
        Scalar::Bool => BOOL,
        Scalar::Int2 => INT2,
        Scalar::Int4 => INT4,
        Scalar::Int8 => INT8,
        Scalar::Numeric => NUMERIC,
        Scalar::Float4 => FLOAT4,
        Scalar::Float8 => FLOAT8,
        Scalar::Text => TEXT,
        Scalar::Varchar => &["{string}::varchar", "cast({mood} as varchar)"],
        Scalar::Char | Scalar::Mood | Scalar::Bytea => &[],
        Scalar::Uuid => &["{text}::uuid"],
        Scalar::Date => DATE,
        Scalar::Timestamp => TIMESTAMP,
        Scalar::Timestamptz => TIMESTAMPTZ,
        Scalar::Interval => INTERVAL,
        Scalar::Json => JSON,
        Scalar::Jsonb => JSONB,
    }
}
