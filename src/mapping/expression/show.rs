//! Writes a parsed expression as text again, for whoever asks why it did not hold.
//!
//! Not the source's own text: spaces and needless brackets are gone, and every part of
//! an expression can be written by itself.

use super::{Arithmetic, Comparison, Node, Row};

/// The expression as its author might have written it. `name` gives the names of columns.
pub(crate) fn show<'n>(node: &Node, name: &impl Fn(usize) -> &'n str) -> String {
    let all = |nodes: &[Node]| {
        let shown: Vec<_> = nodes.iter().map(|node| show(node, name)).collect();
        shown.join(", ")
    };
    // An operand, in brackets unless it is a single thing.
    let operand = |node: &Node| {
        let text = show(node, name);
        match is_single(node) {
            true => text,
            false => format!("({text})"),
        }
    };
    // Comparisons and `not` bind closer than `and` and `or`.
    let side = |node: &Node| match node {
        Node::Compare(..) | Node::Not(_) => show(node, name),
        node => operand(node),
    };
    match node {
        Node::Null => "none".to_owned(),
        Node::Bool(bool) => bool.to_string(),
        Node::Integer(integer) => integer.to_string(),
        Node::Float(float) => float.to_string(),
        Node::Decimal(digits) => digits.clone(),
        Node::Text(text) => quoted(text),
        Node::List(items) => format!("[{}]", all(items)),
        Node::Column(row, column) => format!("{}{}", prefix(*row), name(*column)),
        Node::Operation => "op".to_owned(),
        Node::Member(of, member) => format!("{}.{member}", operand(of)),
        Node::Element(of, index) => format!("{}[{index}]", operand(of)),
        Node::Not(of) => format!("not {}", operand(of)),
        Node::Negate(of) => format!("-{}", operand(of)),
        Node::And(left, right) => {
            // A chain is read from the left: `a and b and c` needs no brackets there.
            let left = match &**left {
                node @ Node::And(..) => show(node, name),
                node => side(node),
            };
            format!("{left} and {}", side(right))
        }
        Node::Or(left, right) => {
            let left = match &**left {
                node @ Node::Or(..) => show(node, name),
                node => side(node),
            };
            format!("{left} or {}", side(right))
        }
        Node::Compare(first, links) => {
            let mut text = operand(first);
            for (comparison, right) in links {
                text = format!("{text} {} {}", sign(*comparison), operand(right));
            }
            text
        }
        Node::Arithmetic(kind, left, right) => {
            format!("{} {} {}", operand(left), arithmetic(*kind), operand(right))
        }
        Node::Concatenate(left, right) => format!("{} ~ {}", operand(left), operand(right)),
        Node::Choose(test, yes, no) => {
            format!("{} if {} else {}", operand(yes), operand(test), operand(no))
        }
        Node::Filter(filter, of, arguments) => {
            let filter = format!("{filter:?}").to_lowercase();
            match arguments.as_slice() {
                [] => format!("{}|{filter}", operand(of)),
                arguments => format!("{}|{filter}({})", operand(of), all(arguments)),
            }
        }
        Node::Test(test, of, arguments) => {
            let test = format!("{test:?}").to_lowercase();
            match arguments.as_slice() {
                [] => format!("{} is {test}", operand(of)),
                arguments => format!("{} is {test}({})", operand(of), all(arguments)),
            }
        }
        Node::Became(column, value) => {
            format!("became({}, {})", quoted(name(*column)), show(value, name))
        }
        Node::Changed(columns) => {
            let columns: Vec<_> = columns.iter().map(|column| quoted(name(*column))).collect();
            format!("changed({})", columns.join(", "))
        }
    }
}

/// How a column of that row is written before its name.
pub(crate) fn prefix(row: Row) -> &'static str {
    match row {
        Row::Current => "",
        Row::New => "new.",
        Row::Old => "old.",
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn is_single(node: &Node) -> bool {
    match node {
        Node::Null
        | Node::Bool(_)
        | Node::Integer(_)
        | Node::Float(_)
        | Node::Decimal(_)
        | Node::Text(_)
        | Node::List(_)
        | Node::Column(..)
        | Node::Operation
        | Node::Member(..)
        | Node::Element(..)
        | Node::Filter(..)
        | Node::Became(..)
        | Node::Changed(_) => true,
        Node::Not(_)
        | Node::Negate(_)
        | Node::And(..)
        | Node::Or(..)
        | Node::Compare(..)
        | Node::Arithmetic(..)
        | Node::Concatenate(..)
        | Node::Choose(..)
        | Node::Test(..) => false,
    }
}

fn sign(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal => "==",
        Comparison::NotEqual => "!=",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
        Comparison::In => "in",
        Comparison::NotIn => "not in",
    }
}

fn arithmetic(kind: Arithmetic) -> &'static str {
    match kind {
        Arithmetic::Add => "+",
        Arithmetic::Subtract => "-",
        Arithmetic::Multiply => "*",
        Arithmetic::Divide => "/",
        Arithmetic::FloorDivide => "//",
        Arithmetic::Remainder => "%",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::expression::{Names, Vocabulary, parse};

    #[test]
    fn what_is_shown_reads_back_as_the_same_expression() {
        for source in [
            "became('status', 'paid') and amount > 100",
            "changed('a', 'b') or not (old.on_hand <= old.reorder_level)",
            "(a or b) and (c and not d)",
            "a - (b - c) * -d // 2 % 3 + 1.50",
            "1 < a <= 5 and new.b in ['x', 'it\\'s', none, true]",
            "data.list[0].name|default('x')|lower ~ '!' == 'y!'",
            "a is startingwith('E') and b is none",
            "(1 if a else 2) == 1 and op != 'delete'",
            "(a == b) == c",
            "(a|lower) == 'x'",
        ] {
            let mut names = Names::default();
            let node = parse(source, Vocabulary::Row, &mut names, "when").unwrap();
            let shown = show(&node, &|name| names.names[name].as_str());
            let mut again = Names::default();
            let reread = parse(&shown, Vocabulary::Row, &mut again, "when").unwrap();
            assert_eq!(format!("{node:?}"), format!("{reread:?}"), "{shown}");
        }
    }
}
