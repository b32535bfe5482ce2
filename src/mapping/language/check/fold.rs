//! What is the same for every row is computed when the expression is checked.

use crate::mapping::language::error::{Result, Span};
use crate::mapping::language::evaluate::constant_value;
use crate::mapping::language::program::{Function, Node};
use crate::mapping::language::types::Type;
use crate::mapping::language::value::Constant;

use super::{Checker, Typed};

impl Checker<'_> {
    /// A part without columns is computed now, so that what fails always fails at start.
    /// As the server's planner does, whatever the other operands are: null with a strict
    /// operator is null, `and` with false is false, `or` with true is true. What the planner
    /// does not compute decides nothing before its turn.
    pub(super) fn fold(&self, typed: Typed) -> Result<Typed> {
        let typed = Typed {
            node: simplified(typed.node),
            ..typed
        };
        if let Some(constant) = decided(&typed.node) {
            return Ok(Typed {
                node: Node::Constant(constant),
                ..typed
            });
        }
        if typed.node.constant().is_some() || !is_constant(&typed.node) {
            return Ok(typed);
        }
        match constant_value(&typed.node, self.scope.letters) {
            Ok(value) => Ok(Typed {
                node: match is_stable(&typed.node) {
                    true => Node::Stable(Box::new(Node::Constant(value))),
                    false => Node::Constant(value),
                },
                ..typed
            }),
            Err(reason) => Err(Self::error(
                &typed.at,
                format!("{} has no value: {reason}", self.show(&typed.at)),
            )),
        }
    }

    /// The same of a condition.
    pub(super) fn folded(&self, node: Node, at: &Span) -> Result<Node> {
        let condition = Typed {
            node,
            r#type: Type::Bool,
            at: at.clone(),
            collation: None,
        };
        self.fold(condition).map(|condition| condition.node)
    }
}

/// `coalesce` and `case` without what a constant of theirs keeps from being reached.
fn simplified(node: Node) -> Node {
    match node {
        Node::Coalesce(mut parts) => {
            parts.retain(|part| *part != Node::Constant(None));
            let decides = parts
                .iter()
                .position(|part| matches!(part, Node::Constant(_)));
            parts.truncate(decides.map_or(parts.len(), |place| place + 1));
            match parts.pop() {
                None => Node::Constant(None),
                Some(only) if parts.is_empty() => only,
                Some(last) => {
                    parts.push(last);
                    Node::Coalesce(parts)
                }
            }
        }
        Node::Case(mut branches, mut otherwise) => {
            let known = |node: &Node| match node {
                Node::Constant(Some(Constant::Bool(value))) => Some(*value),
                Node::Constant(None) => Some(false),
                _ => None,
            };
            branches.retain(|(when, _)| known(when) != Some(false));
            if let Some(place) = branches
                .iter()
                .position(|(when, _)| known(when) == Some(true))
            {
                otherwise = branches
                    .drain(place..)
                    .next()
                    .map(|(_, then)| Box::new(then));
            }
            match (branches.is_empty(), otherwise) {
                (true, None) => Node::Constant(None),
                (true, Some(otherwise)) => *otherwise,
                (false, otherwise) => Node::Case(branches, otherwise),
            }
        }
        // Nothing equals null.
        Node::Nullif(_, a, b) if [&a, &b].iter().any(|part| ***part == Node::Constant(None)) => *a,
        node => node,
    }
}

/// The value of a part that one constant of it decides.
fn decided(node: &Node) -> Option<Option<Constant>> {
    if let Node::Stable(of) = node {
        return match **of {
            // With several elements an operator on an array, which the planner leaves alone.
            Node::In(_, _, ref list, _) if list.len() > 1 => None,
            _ => decided(of),
        };
    }
    let is_null = |part: &Node| matches!(part, Node::Constant(None));
    let is = |part: &Node, value: bool| matches!(part, Node::Constant(Some(Constant::Bool(known))) if *known == value);
    let null = match node {
        Node::And(parts) if parts.iter().any(|part| is(part, false)) => {
            return Some(Some(Constant::Bool(false)));
        }
        Node::Or(parts) if parts.iter().any(|part| is(part, true)) => {
            return Some(Some(Constant::Bool(true)));
        }
        Node::Distinct(_, a, b, negated) if is_null(a) || is_null(b) => {
            let known = matches!((&**a, &**b), (Node::Constant(_), Node::Constant(_)));
            let distinct = !(is_null(a) && is_null(b));
            return known.then_some(Some(Constant::Bool(distinct != *negated)));
        }
        Node::Compare(_, _, a, b)
        | Node::Number(_, _, a, b)
        | Node::Time(_, a, b)
        | Node::Json(_, a, b)
        | Node::Array(_, _, a, b) => is_null(a) || is_null(b),
        Node::In(_, of, ..)
        | Node::Like(of, ..)
        | Node::Not(of)
        | Node::Negate(_, of)
        | Node::Convert(_, of)
        | Node::Extract(_, _, of) => is_null(of),
        Node::Call(function, parts) => *function != Function::Concat && parts.iter().any(is_null),
        _ => false,
    };
    null.then_some(None)
}

/// An operation that the server's planner leaves to the executor, whatever its operands are.
pub(super) fn stable(node: Node) -> Node {
    match node {
        // Strict, as casts and operators are.
        Node::Constant(None) | Node::Stable(_) => node,
        node if is_constant(&node) => Node::Stable(Box::new(node)),
        node => node,
    }
}

/// Between timestamptz and another type the server asks for the session's zone.
pub(super) fn needs_zone(a: &Type, b: &Type) -> bool {
    a != b && (*a == Type::Timestamptz || *b == Type::Timestamptz)
}

fn is_stable(node: &Node) -> bool {
    let mut stable = false;
    node.visit(&mut |part| stable |= matches!(part, Node::Stable(_)));
    stable
}

/// Whether the value is the same for every row.
fn is_constant(node: &Node) -> bool {
    let mut constant = true;
    node.visit(&mut |part| {
        constant &= !matches!(
            part,
            Node::Column(..)
                | Node::Member(_)
                | Node::Operation
                | Node::CommittedAt
                | Node::Became(..)
                | Node::Changed(_)
        );
    });
    constant
}
