//! Bodies of events, for filters.

use super::random::Random;

/// Names of members, mostly each of one kind: numbers, texts, true or false, an array, an
/// object.
pub const MEMBERS: &[&str] = &["n", "n2", "t", "t2", "f", "a", "o", "absent", "Order No"];

/// A body whose members are mostly of the kind that their names say.
pub fn body(random: &mut Random) -> String {
    let data = object(random, 2);
    let previous = match random.chance(50) {
        true => ",\"previous\":{\"n\":1}",
        false => "",
    };
    let kind = random.of(&["order.paid", "order.sent"]);
    format!("{{\"type\":\"{kind}\",\"data\":{data}{previous}}}")
}

fn object(random: &mut Random, depth: usize) -> String {
    let mut members = Vec::new();
    for name in MEMBERS {
        if *name == "absent" || random.chance(12) {
            continue;
        }
        let kind = match random.chance(95) {
            true => *name,
            false => random.of(MEMBERS),
        };
        members.push(format!("\"{name}\":{}", value(random, kind, depth)));
    }
    format!("{{{}}}", members.join(","))
}

fn value(random: &mut Random, kind: &str, depth: usize) -> String {
    if random.chance(8) {
        return "null".to_owned();
    }
    let number = [
        "0",
        "1",
        "2.50",
        "-3",
        "1e2",
        "100.0",
        "12345678901234567890.5",
        "2",
    ];
    let text = [
        "a",
        "ab",
        "",
        "1",
        "true",
        " b ",
        "a,b",
        "日",
        "2024-01-31T10:00:00Z",
        "2.50",
    ];
    match kind {
        "n" | "n2" | "Order No" => random.of(&number).to_owned(),
        "t" | "t2" => format!("\"{}\"", random.of(&text)),
        "f" => random.of(&["true", "false"]).to_owned(),
        "a" => {
            let elements = ["\"a\"", "1", "2.5", "2.50", "true", "null", "[1]", "\"b\""];
            let count = random.below(4);
            let some: Vec<_> = (0..count).map(|_| random.of(&elements)).collect();
            format!("[{}]", some.join(","))
        }
        _ if depth == 0 => "{}".to_owned(),
        _ => match random.of(&["{\"k\":1}", "{\"k\":[\"x\"],\"x\":2}", "{\"k\":\"v\"}", ""]) {
            "" => object(random, depth - 1),
            known => known.to_owned(),
        },
    }
}
