//! How operators bind, by the tree that comes out.

use super::*;
use crate::mapping::language::syntax::{Expr, Kind};

/// The tree in full parentheses.
fn tree(expr: &Expr) -> String {
    let join = |parts: &[Expr], sign: &str| {
        let parts: Vec<String> = parts.iter().map(tree).collect();
        format!("({})", parts.join(sign))
    };
    let not = |negated: &bool| if *negated { "not " } else { "" };
    match &expr.kind {
        Kind::Null => "null".to_owned(),
        Kind::Bool(value) => value.to_string(),
        Kind::Number(digits) => digits.clone(),
        Kind::Text(text) => format!("'{text}'"),
        Kind::Constant(name, text) => format!("{} '{text}'", name.as_str()),
        Kind::Name(path) => {
            let names: Vec<&str> = path.iter().map(|name| name.text.as_str()).collect();
            names.join(".")
        }
        Kind::Minus(of) => format!("(-{})", tree(of)),
        Kind::Not(of) => format!("(not {})", tree(of)),
        Kind::And(parts) => join(parts, " and "),
        Kind::Or(parts) => join(parts, " or "),
        Kind::Arithmetic(sign, a, b) => format!("({} {} {})", tree(a), sign.as_str(), tree(b)),
        Kind::Compare(sign, a, b) => format!("({} {} {})", tree(a), sign.as_str(), tree(b)),
        Kind::Other(sign, a, b) => format!("({} {} {})", tree(a), sign.as_str(), tree(b)),
        Kind::IsNull(of, negated) => format!("({} is {}null)", tree(of), not(negated)),
        Kind::IsBool(of, value, negated) => format!("({} is {}{value})", tree(of), not(negated)),
        Kind::IsDistinct(a, b, negated) => {
            format!("({} is {}distinct from {})", tree(a), not(negated), tree(b))
        }
        Kind::Between(of, low, high, negated) => format!(
            "({} {}between {} and {})",
            tree(of),
            not(negated),
            tree(low),
            tree(high)
        ),
        Kind::In(of, list, negated) => {
            format!("({} {}in {})", tree(of), not(negated), join(list, ", "))
        }
        Kind::Like {
            text,
            pattern,
            negated,
            ..
        } => {
            format!("({} {}like '{pattern}')", tree(text), not(negated))
        }
        Kind::Any(of, array) => format!("({} = any({}))", tree(of), tree(array)),
        Kind::Cast(of, name) => format!("{}::{}", tree(of), name.as_str()),
        Kind::Collate(of) => format!("({} collate C)", tree(of)),
        Kind::Call(name, arguments) => format!("{name}{}", join(arguments, ", ")),
        other => format!("{other:?}"),
    }
}

#[test]
fn operators_bind_as_the_server_has_it() {
    for (source, expected) in [
        ("a or b and not c", "(a or (b and (not c)))"),
        ("a and b and c or d", "((a and b and c) or d)"),
        ("not a = b", "(not (a = b))"),
        ("not a is null", "(not (a is null))"),
        ("a = b is null", "((a = b) is null)"),
        ("a is distinct from b = c", "(a is distinct from (b = c))"),
        (
            "a is not distinct from b and c",
            "((a is not distinct from b) and c)",
        ),
        ("a = b + c * d", "(a = (b + (c * d)))"),
        ("a - b - c", "((a - b) - c)"),
        ("a / b % c", "((a / b) % c)"),
        ("-a * b", "((-a) * b)"),
        ("-a::int", "(-a::integer)"),
        ("- 5", "-5"),
        ("a>-1", "(a > -1)"),
        ("a||b->>c", "((a || b) ->> c)"),
        ("a->'b'->>'c' = 'd'", "(((a -> 'b') ->> 'c') = 'd')"),
        ("a || b + c", "(a || (b + c))"),
        ("a between b and c and d", "((a between b and c) and d)"),
        ("a not between b + 1 and c", "(a not between (b + 1) and c)"),
        ("a = b between c and d", "(a = (b between c and d))"),
        ("a like 'x%' = b", "((a like 'x%') = b)"),
        ("a not in (1, 2) or b", "((a not in (1, 2)) or b)"),
        ("a || b in ('c')", "((a || b) in ('c'))"),
        ("a < b collate \"C\"", "(a < (b collate C))"),
        ("a::text::int", "a::text::integer"),
        ("'1'::int + 2", "(integer '1' + 2)"),
        ("interval '1 day' + a", "(interval '1 day' + a)"),
        ("a = any(b) and c", "((a = any(b)) and c)"),
        ("(a or b) and c", "((a or b) and c)"),
        ("new.a <> old.\"B c\"", "(new.a <> old.B c)"),
        ("lower(a) = 'b'", "(lower(a) = 'b')"),
    ] {
        let expr = parse(source).map_err(|error| format!("{source}: {error}"));
        assert_eq!(
            expr.map(|expr| tree(&expr)).as_deref(),
            Ok(expected),
            "{source}"
        );
    }
}

#[test]
fn nesting_is_bounded_and_length_is_not() {
    let long = vec!["active"; 500].join(" and ");
    assert!(checked_condition(&long).is_ok());
    for deep in [
        format!("{}active{}", "(".repeat(70), ")".repeat(70)),
        format!("{}active", "not ".repeat(70)),
        format!("{}quantity > 1", "- ".repeat(70)),
        format!("quantity{} > 1", " + 1".repeat(70)),
    ] {
        let error = checked_condition(&deep).unwrap_err();
        assert!(error.message.contains("64"), "{error}");
    }
}

/// What is checked more than once within each other ends in good time.
#[test]
fn checking_is_bounded() {
    let nested = |count: usize, before: &str, behind: &str| {
        format!("{}quantity{}", before.repeat(count), behind.repeat(count))
    };
    for source in [
        nested(25, "case when ", " between 1 and 2 then 1 end"),
        nested(40, "case ", " when 1 then 1 end"),
        nested(25, "case ", " when 1 then 1 when 2 then 2 end"),
    ] {
        let error = checked(&source).unwrap_err();
        assert!(error.message.starts_with("too many parts"), "{error}");
    }
    assert!(checked(&nested(3, "case when ", " between 1 and 2 then 1 end")).is_ok());
    assert!(checked(&nested(6, "case ", " when 1 then 1 end")).is_ok());
    let flat = vec!["quantity between 1 and 2"; 160].join(" and ");
    assert!(checked_condition(&flat).is_ok());
}

#[test]
fn an_expression_spans_its_source() {
    for source in [
        "a = 1",
        "(a) and (b)",
        "case when a then 1 end",
        "lower( a )",
        "x in (1)",
    ] {
        assert_eq!(parse(source).unwrap().at, 0..source.len(), "{source}");
    }
}
