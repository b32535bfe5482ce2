//! Comparisons, `is`, `in`, `between`, `like` and `= any`.

use crate::mapping::language::error::{Result, SyntaxError};
use crate::mapping::language::syntax::{Comparison, Expr, Kind, Other};
use crate::mapping::language::token::Token;
use crate::mapping::language::words::is_reserved;

use super::hint::is_expected;
use super::{Infix, Level, Parser};

impl Parser<'_> {
    pub(super) fn compare(&mut self, comparison: Comparison, left: Expr) -> Result<Expr> {
        self.advance();
        if let Token::Word(word) = self.peek()
            && matches!(word.as_str(), "any" | "all" | "some")
            && *self.peek_behind(1) == Token::Open
        {
            return self.any(comparison, word, left);
        }
        let right = self.expression(Level::Comparison.above())?;
        if let Some(Infix::Compare(second)) = self.infix() {
            let meant = match &right.kind {
                Kind::Other(Other::Overlaps, a, _) => Some((a, "&&", "and")),
                Kind::Other(Other::Concatenate, a, _) => Some((a, "||", "or")),
                _ => None,
            };
            if let Some((before, operator, word)) = meant {
                let at = self.tokens.iter().find(|one| one.at.start >= before.at.end);
                return Err(SyntaxError::new(
                    at.map_or(right.at.clone(), |one| one.at.clone()),
                    format!("`{operator}` does not join conditions: write `{word}`"),
                ));
            }
            let (first, second) = (comparison.as_str(), second.as_str());
            let (a, b) = (self.source_of(&left.at), self.source_of(&right.at));
            let third = self
                .tokens
                .get(self.at + 1)
                .map_or("c", |one| self.source_of(&one.at));
            return Err(self.refuse(format!(
                "comparisons are not chained: write `{a} {first} {b} and {b} {second} {third}`, or put one of them in parentheses"
            )));
        }
        self.binary(left, right, |left, right| {
            Kind::Compare(comparison, left, right)
        })
    }

    pub(super) fn any(&mut self, comparison: Comparison, word: &str, left: Expr) -> Result<Expr> {
        if word != "any" || comparison != Comparison::Equal {
            let operator = comparison.as_str();
            let value = self.source_of(&left.at);
            let array = match self.peek_behind(3) {
                Token::Close => self
                    .tokens
                    .get(self.at + 2)
                    .map_or("array", |one| self.source_of(&one.at)),
                _ => "array",
            };
            let hint = match (word, comparison) {
                ("some", Comparison::Equal) => format!("write {value} = any({array})"),
                (_, Comparison::NotEqual) => format!("write not ({value} = any({array}))"),
                _ => {
                    "there is `value = any(array)` only, and `not (value = any(array))`".to_owned()
                }
            };
            return Err(self.refuse(format!("there is no `{operator} {word}(…)`: {hint}")));
        }
        self.advance();
        self.advance();
        self.refuse_query()?;
        let array = self.expression(0)?;
        if *self.peek() == Token::Comma {
            return Err(self.refuse(format!(
                "`any` takes one array, such as a column or '{{a,b}}': for several values write {} in (…)",
                self.source_of(&left.at)
            )));
        }
        self.expect(&Token::Close, "`)` after the array of `any`")?;
        if let Some(Infix::Compare(_)) = self.infix() {
            return Err(self.refuse("comparisons are not chained: put `… = any(…)` in parentheses"));
        }
        let at = left.at.start..self.end();
        self.node(Kind::Any(Box::new(left), Box::new(array)), at)
    }

    pub(super) fn is(&mut self, left: Expr) -> Result<Expr> {
        self.advance();
        let negated = self.take("not");
        let not = if negated { "not " } else { "" };
        let Token::Word(word) = self.peek() else {
            return Err(self.refuse(is_expected(not, &self.met())));
        };
        let start = left.at.start;
        match word.as_str() {
            "null" | "true" | "false" => {
                self.advance();
                let at = start..self.end();
                let left = Box::new(left);
                match word.as_str() {
                    "null" => self.node(Kind::IsNull(left, negated), at),
                    word => self.node(Kind::IsBool(left, word == "true", negated), at),
                }
            }
            "distinct" => {
                self.advance();
                self.expect_word("from", "after `is distinct`")?;
                let right = self.expression(Level::Is.above())?;
                if let Some(Infix::Is) = self.infix() {
                    return Err(self
                        .refuse("`is` after `is distinct from`: put one of them in parentheses"));
                }
                self.binary(left, right, |left, right| {
                    Kind::IsDistinct(left, right, negated)
                })
            }
            _ => Err(self.refuse(is_expected(not, &self.met()))),
        }
    }

    pub(super) fn membership(&mut self, infix: Infix, left: Expr, negated: bool) -> Result<Expr> {
        self.advance();
        let start = left.at.start;
        let above = Level::Membership.above();
        let left = Box::new(left);
        let expr = match infix {
            Infix::Between => {
                if self.is_next("symmetric") || self.is_next("asymmetric") {
                    return Err(self.refuse(format!(
                        "there is no `between {}`: give the smaller bound first",
                        self.met().replace('`', "")
                    )));
                }
                let low = self.expression(above)?;
                self.expect_word("and", "between the bounds, as in `between 1 and 5`")?;
                let high = self.expression(above)?;
                let at = start..high.at.end;
                self.node(
                    Kind::Between(left, Box::new(low), Box::new(high), negated),
                    at,
                )?
            }
            Infix::Like { ignore_case } => {
                let word = if ignore_case { "ilike" } else { "like" };
                let Token::Text(pattern) = self.peek() else {
                    let text = self.source_of(&left.at);
                    let hint = match self.peek() {
                        Token::Quoted(pattern) => format!(": write '{pattern}', in single quotes"),
                        Token::Word(word) if is_reserved(word) => {
                            ": write it for each pattern, with `or`".to_owned()
                        }
                        Token::Word(part) => format!(
                            ": for the text of a column write position({part} in {text}) > 0 or starts_with({text}, {part})"
                        ),
                        Token::Open => ": write it for each pattern, with `or`".to_owned(),
                        _ => String::new(),
                    };
                    return Err(self.refuse(format!(
                        "expected a pattern in single quotes after `{word}`, such as 'begin%', met {}{hint}",
                        self.met()
                    )));
                };
                self.pattern(pattern)?;
                self.advance();
                let at = start..self.end();
                if self.is_next("escape") {
                    return Err(self.refuse("there is no `escape`: a backslash before `%`, `_` or `\\` makes it stand for itself"));
                }
                if let Token::Operator("||" | "::") = self.peek() {
                    return Err(self.refuse(
                        "the pattern is one text in quotes, without operators: write 'begin%', or starts_with(x, y) for the text of a column",
                    ));
                }
                self.node(
                    Kind::Like {
                        text: left,
                        pattern: pattern.clone(),
                        ignore_case,
                        negated,
                    },
                    at,
                )?
            }
            _ => {
                if *self.peek() != Token::Open {
                    let value = self.source_of(&left.at);
                    let hint = match self.peek() {
                        Token::Text(text) => {
                            let not = if negated { "not " } else { "" };
                            format!("write {value} {not}in ('{text}', …)")
                        }
                        Token::Word(_) if !negated => {
                            format!(
                                "write {value} = any({}) where that is an array",
                                self.met().replace('`', "")
                            )
                        }
                        Token::Word(_) => {
                            format!(
                                "write not ({value} = any({})) where that is an array",
                                self.met().replace('`', "")
                            )
                        }
                        _ => "write it as in status in ('paid', 'sent')".to_owned(),
                    };
                    return Err(self.refuse(format!(
                        "expected a list in parentheses after `in`, met {}: {hint}",
                        self.met()
                    )));
                }
                self.advance();
                self.refuse_query()?;
                if *self.peek() == Token::Close {
                    return Err(self.refuse(
                        "the list after `in` is empty: give it a value, or write `is null`",
                    ));
                }
                let list = self.list()?;
                self.expect(&Token::Close, "`,` or `)` in the list of `in`")?;
                let at = start..self.end();
                self.node(Kind::In(left, list, negated), at)?
            }
        };
        match self.infix() {
            Some(Infix::Between | Infix::In | Infix::Like { .. } | Infix::Not) => Err(self.refuse(
                "`in`, `between`, `like` and `ilike` are not chained: put one of them in parentheses, or write `and`",
            )),
            _ => Ok(expr),
        }
    }

    pub(super) fn pattern(&self, pattern: &str) -> Result<()> {
        let backslashes = pattern.len() - pattern.trim_end_matches('\\').len();
        match backslashes % 2 {
            0 => Ok(()),
            _ => Err(self.refuse(
                "the pattern ends with a backslash that escapes nothing: write `\\\\` for a backslash",
            )),
        }
    }
}
