//! The built-in types that JSON has a form for, or that stand in arrays.

pub(super) const BOOL: u32 = 16;
pub(super) const BYTEA: u32 = 17;
pub(super) const INT8: u32 = 20;
pub(super) const INT2: u32 = 21;
pub(super) const INT4: u32 = 23;
pub(super) const TEXT: u32 = 25;
pub(super) const OID: u32 = 26;
pub(super) const JSON: u32 = 114;
pub(super) const FLOAT4: u32 = 700;
pub(super) const FLOAT8: u32 = 701;
pub(super) const BPCHAR: u32 = 1042;
pub(super) const VARCHAR: u32 = 1043;
pub(super) const DATE: u32 = 1082;
pub(super) const TIMESTAMP: u32 = 1114;
pub(super) const TIMESTAMPTZ: u32 = 1184;
pub(super) const NUMERIC: u32 = 1700;
pub(super) const UUID: u32 = 2950;
pub(super) const JSONB: u32 = 3802;

/// `FirstNormalObjectId`: from here on oids are the users'.
const FIRST_USER_OID: u32 = 16_384;

/// Name, oid and its array's oid, from PostgreSQL's `pg_type.dat`: what is below
/// [`FIRST_USER_OID`] is fixed for ever. Without `box`, the one type whose arrays are
/// not separated by commas, and without the vectors, which are no array literals.
const BUILT_IN: [(&str, u32, u32); 42] = [
    ("bool", BOOL, 1000),
    ("bytea", BYTEA, 1001),
    ("char", 18, 1002),
    ("name", 19, 1003),
    ("int8", INT8, 1016),
    ("int2", INT2, 1005),
    ("int4", INT4, 1007),
    ("text", TEXT, 1009),
    ("oid", OID, 1028),
    ("xid", 28, 1011),
    ("json", JSON, 199),
    ("xml", 142, 143),
    ("point", 600, 1017),
    ("cidr", 650, 651),
    ("float4", FLOAT4, 1021),
    ("float8", FLOAT8, 1022),
    ("money", 790, 791),
    ("macaddr", 829, 1040),
    ("inet", 869, 1041),
    ("bpchar", BPCHAR, 1014),
    ("varchar", VARCHAR, 1015),
    ("date", DATE, 1182),
    ("time", 1083, 1183),
    ("timestamp", TIMESTAMP, 1115),
    ("timestamptz", TIMESTAMPTZ, 1185),
    ("interval", 1186, 1187),
    ("timetz", 1266, 1270),
    ("bit", 1560, 1561),
    ("varbit", 1562, 1563),
    ("numeric", NUMERIC, 1231),
    ("uuid", UUID, 2951),
    ("pg_lsn", 3220, 3221),
    ("tsvector", 3614, 3643),
    ("jsonb", JSONB, 3807),
    ("int4range", 3904, 3905),
    ("numrange", 3906, 3907),
    ("tsrange", 3908, 3909),
    ("tstzrange", 3910, 3911),
    ("daterange", 3912, 3913),
    ("int8range", 3926, 3927),
    ("macaddr8", 774, 775),
    ("xid8", 5069, 271),
];

/// The type of an array's elements; `None` where the type is not a known array.
pub(super) fn element_of(type_oid: u32) -> Option<u32> {
    if type_oid >= FIRST_USER_OID {
        return None;
    }
    BUILT_IN
        .iter()
        .find(|(_, _, array)| *array == type_oid)
        .map(|(_, element, _)| *element)
}

/// The name of a built-in type, or of the array of one (`_numeric`).
pub fn built_in_name(type_oid: u32) -> Option<String> {
    BUILT_IN
        .iter()
        .find_map(|(name, oid, array)| match type_oid {
            known if known == *oid => Some((*name).to_owned()),
            known if known == *array => Some(format!("_{name}")),
            _ => None,
        })
}

/// The oid of a built-in type by its `pg_type.typname` in `pg_catalog` (`numeric`,
/// `_numeric` for its array). `None` for types whose values are strings anyway.
pub fn built_in_oid(name: &str) -> Option<u32> {
    let (element_name, is_array) = match name.strip_prefix('_') {
        Some(element_name) => (element_name, true),
        None => (name, false),
    };
    BUILT_IN
        .iter()
        .find(|(known, _, _)| *known == element_name)
        .map(|(_, oid, array)| if is_array { *array } else { *oid })
}
