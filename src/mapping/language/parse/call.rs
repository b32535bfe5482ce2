//! Functions, and the forms that look like them.

use crate::mapping::language::error::Result;
use crate::mapping::language::syntax::{Expr, Kind};
use crate::mapping::language::token::Token;

use super::{Level, Parser};

impl Parser<'_> {
    pub(super) fn call(&mut self, word: &str) -> Result<Expr> {
        let start = self.span().start;
        self.open();
        let mut arguments = Vec::new();
        match self.peek() {
            Token::Close => {}
            Token::Operator("*") => {
                return Err(self.refuse(format!(
                    "`{word}(*)`: an expression reads one row alone, and has no aggregates"
                )));
            }
            Token::Word(first) if matches!(first.as_str(), "distinct" | "all") => {
                return Err(self.refuse(format!(
                    "`{word}({first} …)`: an expression reads one row alone, and has no aggregates"
                )));
            }
            Token::Word(first) if matches!(first.as_str(), "both" | "leading" | "trailing") => {
                return Err(self.refuse(format!(
                    "there is no `{word}({first} …)`: write trim(x), ltrim(x) or rtrim(x), with the characters to take away as second argument"
                )));
            }
            Token::Word(first) if matches!(first.as_str(), "select" | "with" | "values") => {
                self.refuse_query()?;
            }
            _ => {
                arguments = self.list()?;
            }
        }
        if word == "trim" && self.is_next("from") {
            return Err(self.refuse(
                "expected `,` or `)` in `trim(…)`, met `from`: write trim(x), or trim(x, 'characters')",
            ));
        }
        if self.is_next("from") || self.is_next("for") || self.is_next("in") {
            return Err(self.refuse(format!(
                "expected `,` or `)` in `{word}(…)`, met {}",
                self.met()
            )));
        }
        if self.is_next("as") {
            return Err(self.refuse(format!(
                "expected `,` or `)` in `{word}(…)`, met `as`: a conversion is cast(value as type)"
            )));
        }
        self.expect(&Token::Close, &format!("`,` or `)` in `{word}(…)`"))?;
        let end = self.end();
        if let Token::Word(next) = self.peek()
            && matches!(next.as_str(), "over" | "filter" | "within")
        {
            return Err(self.refuse(format!(
                "`{next}`: an expression reads one row alone, and has no aggregates or windows"
            )));
        }
        self.node(Kind::Call(word.to_owned(), arguments), start..end)
    }

    pub(super) fn cast(&mut self) -> Result<Expr> {
        let start = self.span().start;
        self.open();
        let of = self.expression(0)?;
        if !self.is_next("as") {
            return Err(self.refuse(format!(
                "expected `as` in `cast(value as type)`, met {}: write cast({} as integer)",
                self.met(),
                self.source_of(&of.at)
            )));
        }
        self.advance();
        let name = self.type_name()?;
        self.expect(&Token::Close, "`)` after the type of `cast`")?;
        let at = start..self.end();
        match of.kind {
            Kind::Text(text) => self.node(Kind::Constant(name, text), at),
            _ => self.node(Kind::Cast(Box::new(of), name), at),
        }
    }

    pub(super) fn extract(&mut self) -> Result<Expr> {
        let start = self.span().start;
        self.open();
        let field = match self.peek() {
            Token::Word(word) => word.clone(),
            Token::Text(text) => text.to_lowercase(),
            _ => {
                return Err(self.refuse(format!(
                    "expected a field, as in extract(year from created_at), met {}",
                    self.met()
                )));
            }
        };
        self.advance();
        self.expect_word(
            "from",
            "after the field, as in extract(year from created_at)",
        )?;
        let of = self.expression(0)?;
        self.expect(&Token::Close, "`)` after the value of `extract`")?;
        let at = start..self.end();
        self.node(Kind::Extract(field, Box::new(of)), at)
    }

    /// `substring(x from a for b)` and `substring(x, a, b)`.
    pub(super) fn substring(&mut self) -> Result<Expr> {
        let start = self.span().start;
        self.open();
        let mut arguments = vec![self.expression(0)?];
        if self.take("from") {
            arguments.push(self.expression(0)?);
            if self.take("for") {
                arguments.push(self.expression(0)?);
            }
        } else {
            if self.is_next("for") || self.is_next("similar") {
                return Err(
                    self.refuse("expected `from` in `substring`: write substring(x from 1 for 3)")
                );
            }
            while *self.peek() == Token::Comma {
                self.advance();
                arguments.push(self.expression(0)?);
            }
        }
        self.expect(&Token::Close, "`)` after `substring(x from a for b)`")?;
        let at = start..self.end();
        self.node(Kind::Call("substring".to_owned(), arguments), at)
    }

    pub(super) fn position(&mut self) -> Result<Expr> {
        let start = self.span().start;
        self.open();
        let part = self.expression(Level::Membership.above())?;
        if *self.peek() == Token::Comma {
            return Err(self.refuse(format!(
                "expected `in` in `position(part in whole)`, met `,`: write position({} in {})",
                self.source_of(&part.at),
                self.tokens
                    .get(self.at + 1)
                    .map_or("whole", |one| self.source_of(&one.at))
            )));
        }
        self.expect_word("in", "in `position(part in whole)`")?;
        let whole = self.expression(Level::Membership.above())?;
        self.expect(&Token::Close, "`)` after `position(part in whole)`")?;
        let at = start..self.end();
        self.node(Kind::Call("strpos".to_owned(), vec![whole, part]), at)
    }
}
