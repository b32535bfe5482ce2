//! Expressions without parentheses: what they mean depends on precedence alone.

use super::random::Random;

/// Operands and operators that fit each other: of numbers, of texts, of json.
struct Family {
    first: &'static [&'static str],
    operands: &'static [&'static str],
    /// Between operands, giving another.
    operators: &'static [&'static str],
    prefixes: &'static [&'static str],
    /// Behind an operand, giving another.
    casts: &'static [&'static str],
    /// Between operands, giving a condition.
    comparisons: &'static [&'static str],
    /// Behind an operand, giving a condition.
    tests: &'static [&'static str],
}

const FAMILIES: [Family; 3] = [
    Family {
        first: &["int4_a", "int2_b", "int8_a", "7", "numeric_a"],
        operands: &[
            "int4_a",
            "int2_b",
            "int8_a",
            "1",
            "2",
            "-1",
            "3",
            "numeric_a",
            "null::int",
            "int4_b",
        ],
        operators: &["+", "-", "*", "/", "%"],
        prefixes: &["-", "- ", "- - "],
        casts: &["::numeric", "::int8", "::text::int", "::float8"],
        comparisons: &[
            "=",
            "<",
            ">=",
            "<>",
            "!=",
            "is distinct from",
            "is not distinct from",
            "between 1 and",
            "not between -1 and",
            "between int2_a and",
        ],
        tests: &[
            "is null",
            "is not null",
            "in (1, 2)",
            "not in (3)",
            "between 0 and 2",
            "= any(int4s_a)",
        ],
    },
    Family {
        first: &["text_a", "text_b", "varchar_a", "'ab'"],
        operands: &[
            "text_a",
            "text_b",
            "varchar_a",
            "'a'",
            "'ab'",
            "bytes",
            "'%'",
            "'1'",
        ],
        operators: &["||"],
        prefixes: &[],
        casts: &["::text", "::varchar"],
        comparisons: &[
            "=",
            "<>",
            "is distinct from",
            "is not distinct from",
            "collate \"C\" <",
            "collate \"C\" >=",
            "collate \"C\" between 'a' and",
        ],
        tests: &[
            "is null",
            "is not null",
            "like 'a%'",
            "not like '%b'",
            "ilike 'A_'",
            "in ('a', 'ab')",
            "= any(texts_a)",
            "not in ('b')",
        ],
    },
    Family {
        first: &["jsonb_a", "jsonb_b", "json_a"],
        operands: &[
            "'a'",
            "'b'",
            "0",
            "1",
            "text_a",
            "'a'",
            "-1",
            "'{a,b}'",
            "'{\"a\": 1}'",
        ],
        operators: &["->", "->>", "->", "#>", "#>>", "||"],
        prefixes: &[],
        casts: &["::text"],
        comparisons: &["=", "<>", "@>", "<@", "?", "is distinct from"],
        tests: &[
            "is null",
            "is not null",
            "like '%a%'",
            "in ('a', '1')",
            "= any(texts_b)",
        ],
    },
];

/// Operands and operators in an order that may mean something.
pub fn soup(random: &mut Random) -> String {
    let family = &FAMILIES[random.below(FAMILIES.len())];
    let mut text = clause(random, family);
    while random.chance(45) {
        text += random.of(&[
            " and ",
            " or ",
            " and not ",
            " or not ",
            " = ",
            " <> ",
            " is distinct from ",
        ]);
        text += &clause(random, family);
    }
    text
}

fn clause(random: &mut Random, family: &Family) -> String {
    let mut text = String::new();
    if random.chance(15) {
        text += random.of(&["not ", "not not "]);
    }
    if random.chance(20) {
        text += random.of(&["bool_a", "bool_b", "true", "null::bool"]);
    } else {
        text += &value(random, family);
        if random.chance(60) {
            text += &format!(" {} ", random.of(family.comparisons));
            text += &value(random, family);
        }
        if random.chance(40) {
            text += &format!(" {}", random.of(family.tests));
        }
    }
    while random.chance(25) {
        text += random.of(&[
            " is null",
            " is not null",
            " is true",
            " is not false",
            " is not true",
        ]);
    }
    text
}

fn value(random: &mut Random, family: &Family) -> String {
    let mut text = String::new();
    let operators = random.below(5);
    for at in 0..=operators {
        if !family.prefixes.is_empty() && random.chance(15) {
            text += random.of(family.prefixes);
        }
        text += random.of(if at == 0 {
            family.first
        } else {
            family.operands
        });
        if random.chance(10) {
            text += random.of(family.casts);
        }
        if at < operators {
            // Close together, the lexer has to part them.
            let blank = if random.chance(70) { " " } else { "" };
            text += &format!("{blank}{}{blank}", random.of(family.operators));
        }
    }
    text
}
