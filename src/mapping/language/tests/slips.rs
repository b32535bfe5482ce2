//! What those write who come from another language, and what the message must give them.

use super::*;

/// Lines of a slip and the piece of the message that shows the right spelling; under
/// `## conditions` as a condition, elsewhere as any value.
const SLIPS: &str = include_str!("slips.txt");

fn slips() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let mut part = "";
    SLIPS.lines().filter_map(move |line| {
        if let Some(name) = line.strip_prefix("## ") {
            part = name;
            return None;
        }
        let (slip, piece) = line.split_once("  ⇒  ")?;
        Some((part, slip, piece))
    })
}

#[test]
fn each_slip_is_refused_with_the_right_spelling() {
    let mut wrong = Vec::new();
    for (part, slip, piece) in slips() {
        let refused = match part {
            "conditions" => checked_condition(slip),
            _ => checked(slip),
        };
        match refused {
            Ok(_) => wrong.push(format!("{slip}\n    is accepted")),
            Err(error) if error.message.contains(piece) => {}
            Err(error) => wrong.push(format!("{slip}\n    {}\n    lacks {piece}", error.message)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(slips().count() >= 400);
}

#[test]
fn each_slip_is_refused_at_a_place_within_it() {
    for (_, slip, _) in slips() {
        let Err(error) = checked_condition(slip) else {
            continue;
        };
        assert!(
            slip.get(error.at.clone()).is_some(),
            "{slip}: {:?}",
            error.at
        );
        assert_eq!(error.line_and_column(slip).0, 1, "{slip}");
    }
}

/// A spelling is given once, and not in quotes within quotes.
#[test]
fn messages_are_tidy() {
    for (_, slip, _) in slips() {
        let Err(error) = checked_condition(slip) else {
            continue;
        };
        let message = error.message;
        for untidy in ["``", "  ", "((", ": :", "…::"] {
            assert!(
                slip.contains(untidy) || !message.contains(untidy),
                "{slip}: {message}"
            );
        }
        assert!(!message.ends_with(['.', ':', ' ']), "{slip}: {message}");
    }
}

#[test]
fn the_place_is_what_was_not_understood() {
    for (source, place) in [
        ("status == 'paid'", "=="),
        ("total > 1 and status = 'paid' && active", "&&"),
        ("total > 1 || quantity > 2", "||"),
        ("total > 0 and statsu = 'paid'", "statsu"),
        ("state in ('draft', 'open')", "'open'"),
        ("status in ('paid', 5)", "5"),
        ("1 < quantity < 10", "<"),
        ("status = 'paid' and", ""),
        ("(total > 5", "("),
        ("größe > 1 or now() > due", "größe"),
        ("status.lower() = 'x'", "status.lower"),
    ] {
        let error = checked_condition(source).unwrap_err();
        assert_eq!(
            source.get(error.at.clone()),
            Some(place),
            "{source}: {error}"
        );
    }
    let error = checked_condition("total > 1\n  and größe == 5").unwrap_err();
    assert_eq!(
        error.line_and_column("total > 1\n  and größe == 5"),
        (2, 13)
    );
}
