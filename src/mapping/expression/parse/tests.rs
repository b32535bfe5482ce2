//! What is read, and what is refused with which words.

use super::*;

fn parse_row(source: &str) -> Result<(Node, Names), String> {
    let mut names = Names::default();
    parse(source, Vocabulary::Row, &mut names, "when").map(|node| (node, names))
}

#[test]
fn finds_every_column_and_how_it_is_used() {
    let (_, names) =
        parse_row("became('status', 'paid') and amount > old['amount'] and new.x is not none and changed('a', 'b')")
            .unwrap();
    let uses: Vec<_> = names
        .uses
        .iter()
        .map(|one| (names.names[one.name].as_str(), one.usage))
        .collect();
    assert_eq!(
        uses,
        [
            ("status", Usage::Became),
            ("amount", Usage::Current),
            ("amount", Usage::Old),
            ("x", Usage::New),
            ("a", Usage::Changed),
            ("b", Usage::Changed),
        ]
    );
}

#[test]
fn refuses_what_it_cannot_bound_or_check_and_says_why() {
    for (source, expected) in [
        ("", "empty"),
        ("status ==", "not an expression"),
        ("new == 1", "whole row"),
        ("became", "is a function"),
        ("became(status, 'x')", "in quotes"),
        ("became('status')", "became('status', 'paid')"),
        ("changed()", "changed("),
        ("range(10)", "is not a function"),
        ("name.upper()", "methods"),
        ("name|replace('a', 'b')", "is not a filter"),
        ("name is divisibleby(3)", "is not a test"),
        ("new[name]", "constant"),
        ("{'a': 1}", "map"),
        ("name[1:2]", "slice"),
        ("2 ** 3", "not allowed"),
        ("name|lower(1)", "arguments"),
    ] {
        let error = parse_row(source).unwrap_err();
        assert!(error.contains(expected), "{source}: {error}");
    }
    let long = format!("1{}", "+1".repeat(1500));
    assert!(parse_row(&long).unwrap_err().contains("levels deep"));
    assert!(parse_row(&"x".repeat(5000)).unwrap_err().contains("longer"));
}

#[test]
fn keeps_the_digits_of_a_number_with_a_fraction() {
    for (source, digits) in [
        ("100.10", "100.10"),
        ("12345678901234567.01", "12345678901234567.01"),
    ] {
        let (node, _) = parse_row(source).unwrap();
        assert!(matches!(node, Node::Decimal(text) if text == digits));
    }
    assert!(matches!(parse_row("1.5e3").unwrap().0, Node::Float(x) if x == 1500.0));
}
