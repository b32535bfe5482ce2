//! Operators between two operands or after one, and what binds how strongly (`gram.y`).

use crate::mapping::language::syntax::{Arithmetic, Comparison, Other};
use crate::mapping::language::token::Token;

use super::Parser;

/// What binds how strongly, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Or = 1,
    And,
    Not,
    Is,
    Comparison,
    /// `between`, `in`, `like`, `ilike`.
    Membership,
    Other,
    Sum,
    Product,
    Collate,
    Minus,
    Cast,
}

impl Level {
    /// What binds more strongly than this.
    pub(super) fn above(self) -> u8 {
        self as u8 + 1
    }
}

/// An operator between two operands, or after one.
#[derive(Clone, Copy)]
pub(super) enum Infix {
    Or,
    And,
    Is,
    Compare(Comparison),
    Between,
    In,
    Like { ignore_case: bool },
    Not,
    Other(Other),
    Arithmetic(Arithmetic),
    Collate,
    Cast,
}

impl Infix {
    pub(super) fn level(self) -> Level {
        match self {
            Infix::Or => Level::Or,
            Infix::And => Level::And,
            Infix::Is => Level::Is,
            Infix::Compare(_) => Level::Comparison,
            Infix::Between | Infix::In | Infix::Like { .. } | Infix::Not => Level::Membership,
            Infix::Other(_) => Level::Other,
            Infix::Arithmetic(Arithmetic::Add | Arithmetic::Subtract) => Level::Sum,
            Infix::Arithmetic(_) => Level::Product,
            Infix::Collate => Level::Collate,
            Infix::Cast => Level::Cast,
        }
    }
}

impl Parser<'_> {
    pub(super) fn infix(&self) -> Option<Infix> {
        Some(match self.peek() {
            Token::Word(word) => match word.as_str() {
                "or" => Infix::Or,
                "and" => Infix::And,
                "is" => Infix::Is,
                "between" => Infix::Between,
                "in" => Infix::In,
                "like" => Infix::Like { ignore_case: false },
                "ilike" => Infix::Like { ignore_case: true },
                "not" => Infix::Not,
                "collate" => Infix::Collate,
                _ => return None,
            },
            Token::Operator(operator) => match *operator {
                "=" => Infix::Compare(Comparison::Equal),
                "<>" | "!=" => Infix::Compare(Comparison::NotEqual),
                "<" => Infix::Compare(Comparison::Less),
                "<=" => Infix::Compare(Comparison::LessOrEqual),
                ">" => Infix::Compare(Comparison::Greater),
                ">=" => Infix::Compare(Comparison::GreaterOrEqual),
                "||" => Infix::Other(Other::Concatenate),
                "->" => Infix::Other(Other::Member),
                "->>" => Infix::Other(Other::MemberText),
                "#>" => Infix::Other(Other::Path),
                "#>>" => Infix::Other(Other::PathText),
                "@>" => Infix::Other(Other::Contains),
                "<@" => Infix::Other(Other::ContainedIn),
                "?" => Infix::Other(Other::Has),
                "&&" => Infix::Other(Other::Overlaps),
                "+" => Infix::Arithmetic(Arithmetic::Add),
                "-" => Infix::Arithmetic(Arithmetic::Subtract),
                "*" => Infix::Arithmetic(Arithmetic::Multiply),
                "/" => Infix::Arithmetic(Arithmetic::Divide),
                "%" => Infix::Arithmetic(Arithmetic::Remainder),
                "::" => Infix::Cast,
                _ => return None,
            },
            _ => return None,
        })
    }
}
