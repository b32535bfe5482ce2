//! Operands: constants, names, calls, and what begins with a word of its own.

use crate::mapping::language::error::{Result, SyntaxError};
use crate::mapping::language::syntax::{Expr, Kind, Name};
use crate::mapping::language::token::Token;
use crate::mapping::language::words::is_reserved;

use super::hint::{method, reserved};
use super::{Level, Parser};

impl Parser<'_> {
    pub(super) fn prefix(&mut self) -> Result<Expr> {
        let at = self.span();
        match self.peek() {
            Token::Open => {
                self.advance();
                self.refuse_query()?;
                let inner = self.expression(0)?;
                match self.peek() {
                    Token::Close => self.advance(),
                    Token::Comma => {
                        return Err(self.refuse(
                            "a list in parentheses, as in (a, b), stands after `in` only: compare column by column with `and`; bounds are written between a and b",
                        ));
                    }
                    Token::End => {
                        let message = "expected `)`, met the end: this `(` is not closed";
                        return Err(SyntaxError::new(at, message));
                    }
                    _ => return Err(self.unexpected_after(&inner)),
                }
                if matches!(self.peek(), Token::Dot) {
                    return Err(self.refuse(
                        "expected an operator or the end, met `.`: a function stands before its argument, as in lower(value); fields of composite values cannot be read",
                    ));
                }
                let at = at.start..self.end();
                Ok(Expr { at, ..inner })
            }
            Token::Number(number) => {
                self.advance();
                self.node(Kind::Number(number.clone()), at)
            }
            Token::Text(text) => {
                self.advance();
                if let Token::Text(_) = self.peek() {
                    return Err(self
                        .refuse("two texts beside each other: join them with `||`, or write one"));
                }
                self.node(Kind::Text(text.clone()), at)
            }
            Token::Quoted(name) => {
                self.advance();
                let name = Name {
                    text: name.clone(),
                    quoted: true,
                };
                self.path(name, at.start)
            }
            Token::Operator("-") => {
                self.advance();
                let operand = self.expression(Level::Minus as u8)?;
                let at = at.start..operand.at.end;
                match operand.kind {
                    // As the server folds it, so that the least integer is one.
                    Kind::Number(digits) => {
                        let negated = match digits.strip_prefix('-') {
                            Some(digits) => digits.to_owned(),
                            None => format!("-{digits}"),
                        };
                        self.node(Kind::Number(negated), at)
                    }
                    _ => self.node(Kind::Minus(Box::new(operand)), at),
                }
            }
            Token::Operator("+") => Err(self.refuse("expected a value, met `+`: leave it out")),
            Token::Operator("?") => {
                Err(self.refuse("there are no parameters: expected a value, met `?`"))
            }
            Token::Word(word) => self.word(word),
            _ => Err(self.refuse(self.expected_value())),
        }
    }

    fn word(&mut self, word: &str) -> Result<Expr> {
        let at = self.span();
        let is_call = *self.peek_behind(1) == Token::Open;
        match word {
            "null" | "true" | "false" => {
                self.advance();
                let kind = match word {
                    "null" => Kind::Null,
                    word => Kind::Bool(word == "true"),
                };
                self.node(kind, at)
            }
            "not" => {
                self.advance();
                let operand = self.expression(Level::Not as u8)?;
                let at = at.start..operand.at.end;
                self.node(Kind::Not(Box::new(operand)), at)
            }
            "case" => self.case(),
            "cast" if is_call => self.cast(),
            "extract" if is_call => self.extract(),
            "substring" if is_call => self.substring(),
            "position" if is_call => self.position(),
            "became" if is_call => {
                self.open();
                if *self.peek() == Token::Close {
                    return Err(
                        self.refuse("`became` takes one condition, as in became(status = 'paid')")
                    );
                }
                let condition = self.expression(0)?;
                if *self.peek() == Token::Comma {
                    return Err(self.refuse(self.became_of_two(&condition)));
                }
                self.expect(&Token::Close, "`)` after the condition of `became`")?;
                self.node(Kind::Became(Box::new(condition)), at.start..self.end())
            }
            "changed" if is_call => {
                self.open();
                if *self.peek() == Token::Close {
                    return Err(self.refuse(
                        "`changed` names at least one column, as in changed(status, total)",
                    ));
                }
                if *self.peek() == Token::Operator("*") {
                    return Err(
                        self.refuse("`changed` names each column, as in changed(status, total)")
                    );
                }
                let of = self.list()?;
                self.expect(&Token::Close, "`,` or `)` in `changed`")?;
                self.node(Kind::Changed(of), at.start..self.end())
            }
            _ => {
                if let Some(type_name) = self.constant_type()? {
                    let Token::Text(text) = self.peek() else {
                        return Err(self.refuse("expected a text in quotes after the type"));
                    };
                    self.advance();
                    return self.node(
                        Kind::Constant(type_name, text.clone()),
                        at.start..self.end(),
                    );
                }
                let is_function = is_call && matches!(word, "left" | "right");
                if is_reserved(word) && !is_function {
                    return Err(self.refuse(match (word, is_call) {
                        ("isnull", true) => {
                            "there is no function `isnull`: write `x is null`, or `coalesce(x, other)`".to_owned()
                        }
                        _ => reserved(word, &self.expected_value()),
                    }));
                }
                if is_call {
                    return self.call(word);
                }
                self.advance();
                let name = Name {
                    text: word.to_owned(),
                    quoted: false,
                };
                self.path(name, at.start)
            }
        }
    }

    /// `became('status', 'paid')` is how it was written once.
    fn became_of_two(&self, first: &Expr) -> String {
        let column = match &first.kind {
            Kind::Text(column) => column,
            Kind::Name(_) => self.source_of(&first.at),
            _ => "",
        };
        let value = match self.peek_behind(1) {
            Token::Text(_) | Token::Number(_) => self
                .tokens
                .get(self.at + 1)
                .map_or("", |one| self.source_of(&one.at)),
            _ => "",
        };
        match column.is_empty() || value.is_empty() {
            true => "`became` takes one condition, as in became(status = 'paid'); join several with `and`".to_owned(),
            false => format!("`became` takes one condition: write became({column} = {value})"),
        }
    }

    /// Takes a word and the parenthesis after it.
    pub(super) fn open(&mut self) {
        self.advance();
        self.advance();
    }

    fn path(&mut self, first: Name, start: usize) -> Result<Expr> {
        if *self.peek() == Token::Open {
            return Err(self.refuse(format!(
                "names of functions have no quotes: write {}(…)",
                first.text.to_lowercase()
            )));
        }
        let mut path = vec![first];
        while *self.peek() == Token::Dot {
            self.advance();
            let (text, quoted) = match self.peek() {
                Token::Word(word) => (word.clone(), false),
                Token::Quoted(name) => (name.clone(), true),
                Token::Operator("*") => {
                    return Err(self.refuse("`*` means no value: name the column"));
                }
                _ => {
                    return Err(
                        self.refuse(format!("expected a name after `.`, met {}", self.met()))
                    );
                }
            };
            self.advance();
            path.push(Name { text, quoted });
        }
        if *self.peek() == Token::Open {
            let name = path.last().map_or("", |name| name.text.as_str());
            let end = path
                .len()
                .checked_sub(1)
                .and_then(|_| self.at.checked_sub(2));
            let end = end
                .and_then(|at| self.tokens.get(at))
                .map_or(start, |one| one.at.start);
            let receiver = self.source_of(&(start..end));
            let argument = match self.peek_behind(1) {
                Token::Text(_) | Token::Number(_) | Token::Word(_) => self
                    .tokens
                    .get(self.at + 1)
                    .map_or("", |one| self.source_of(&one.at)),
                _ => "",
            };
            let message = method(receiver.trim_end_matches('.'), name, argument);
            return Err(SyntaxError::new(start..self.end(), message));
        }
        self.node(Kind::Name(path), start..self.end())
    }

    fn case(&mut self) -> Result<Expr> {
        let start = self.span().start;
        self.advance();
        let operand = match self.is_next("when") {
            true => None,
            false => Some(Box::new(self.expression(0)?)),
        };
        let mut branches = Vec::new();
        while self.take("when") {
            let when = self.expression(0)?;
            self.expect_word("then", "in `case`")?;
            branches.push((when, self.expression(0)?));
        }
        if branches.is_empty() {
            return Err(self.refuse(format!(
                "expected `when` in `case`, met {}: write `case when condition then value else value end`",
                self.met()
            )));
        }
        let otherwise = match self.take("else") {
            true => Some(Box::new(self.expression(0)?)),
            false => None,
        };
        if !self.take("end") {
            let last = match otherwise.is_some() {
                true => "`end`",
                false => "`when`, `else` or `end`",
            };
            return Err(self.refuse(format!("expected {last} in `case`, met {}", self.met())));
        }
        let at = start..self.end();
        self.node(
            Kind::Case {
                operand,
                branches,
                otherwise,
            },
            at,
        )
    }
}
