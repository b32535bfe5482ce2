//! Any source at all: no panic, and nothing accepted of which a part was left out.

use proptest::prelude::*;

use super::*;

/// What expressions are made of, right and wrong.
fn any_piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "status",
        "state",
        "total",
        "quantity",
        "price",
        "tags",
        "metadata",
        "payload",
        "note",
        "created_at",
        "due",
        "active",
        "code",
        "\"fullName\"",
        "tenant_id",
        "duration",
        "photo",
        "place",
        "new.status",
        "old.total",
        "tg_op",
        "committed_at",
        "new",
        "größe",
        "'paid'",
        "''",
        "'{a}'",
        "'2024-01-31'",
        "'1 day'",
        "1",
        "2.5",
        "1e3",
        "null",
        "true",
        "false",
        "=",
        "<>",
        "!=",
        "<",
        ">=",
        "==",
        "&&",
        "||",
        "|",
        "!",
        "->",
        "->>",
        "#>>",
        "@>",
        "?",
        "~",
        "+",
        "-",
        "*",
        "/",
        "%",
        "::",
        ":",
        ".",
        ",",
        ";",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "`",
        "$1",
        "@",
        "and",
        "or",
        "not",
        "is",
        "in",
        "like",
        "ilike",
        "between",
        "distinct",
        "from",
        "any",
        "case",
        "when",
        "then",
        "else",
        "end",
        "cast",
        "as",
        "int",
        "text",
        "interval",
        "date",
        "extract",
        "year",
        "substring",
        "for",
        "position",
        "coalesce",
        "lower",
        "now",
        "round",
        "became",
        "changed",
        "collate",
        "\"C\"",
        "select",
        "\"",
        "'",
        "“",
        "0x1f",
        "€",
        "\u{a0}",
    ])
}

/// Mostly right: operands and operators in turn.
fn any_expression() -> impl Strategy<Value = String> {
    let operand = prop::sample::select(vec![
        "status",
        "total",
        "quantity",
        "active",
        "metadata->>'n'",
        "tags",
        "1",
        "'paid'",
        "null",
        "new.due",
        "lower(note)",
        "created_at",
        "interval '1 day'",
        "total::int",
        "case when active then 1 end",
        "changed(status)",
        "became(total > 1)",
        "'a' = any(tags)",
        "quantity in (1, 2)",
        "note is null",
        "email like 'a%'",
        "total between 1 and 2",
    ]);
    let operator = prop::sample::select(vec![
        "and",
        "or",
        "=",
        "<>",
        "<",
        "||",
        "+",
        "-",
        "*",
        "%",
        "->",
        "->>",
        "@>",
        "&&",
        "is distinct from",
        "and not",
        "or not",
        "=-",
        "<-",
        "||-",
        "=+",
    ]);
    let leaf = operand.prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, move |inner| {
        prop_oneof![
            (
                inner.clone(),
                operator.clone(),
                inner.clone(),
                any::<bool>()
            )
                .prop_map(|(a, operator, b, spaced)| match spaced {
                    true => format!("{a} {operator} {b}"),
                    false => format!("({a}){operator}({b})"),
                }),
            inner.clone().prop_map(|a| format!("({a})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("coalesce({a}, {b})")),
        ]
    })
}

fn any_source() -> impl Strategy<Value = String> {
    let pieces = |glue: &'static str| {
        prop::collection::vec(any_piece(), 0..14).prop_map(move |pieces| pieces.join(glue))
    };
    prop_oneof![
        pieces(" "),
        pieces(""),
        any_expression(),
        (any_expression(), any_piece()).prop_map(|(one, more)| format!("{one} {more}")),
        any::<String>(),
        "[ -~]{0,40}",
        "[a-z'\"=<>|(){}.:,0-9 –ß\\\\\\[\\]-]{0,40}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn nothing_panics_and_places_lie_within_the_source(source in any_source()) {
        for result in [checked(&source), checked_condition(&source)] {
            if let Err(error) = result {
                prop_assert!(source.get(error.at.clone()).is_some(), "{:?} of {source:?}", error.at);
                prop_assert!(!error.message.is_empty());
                error.line_and_column(&source);
            }
        }
    }

    /// What was accepted reads to the end: whatever stands after it makes a difference.
    #[test]
    fn an_accepted_expression_ends_where_its_source_ends(source in any_source()) {
        let Ok(expr) = parse(&source) else {
            return Ok(());
        };
        let blanks = [' ', '\t', '\n', '\r', '\u{c}'];
        prop_assert_eq!(&source[expr.at.clone()], source.trim_matches(blanks));
        let more = format!("{source} )");
        prop_assert!(parse(&more).is_err());
    }

    /// Blanks, and the case of words, change nothing.
    #[test]
    fn blanks_around_change_nothing(source in any_source()) {
        let spaced = format!(" \n{source}\t");
        match (checked(&source), checked(&spaced)) {
            (Ok(one), Ok(other)) => prop_assert_eq!(one.r#type, other.r#type),
            (Err(_), Err(_)) => {}
            (one, other) => prop_assert!(false, "{source:?}: {one:?}, {other:?}"),
        }
    }
}
