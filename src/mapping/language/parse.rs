//! Reads an expression whole: what it does not understand, it refuses.
//!
//! A Pratt parser with PostgreSQL's precedences (`gram.y`; "Operator Precedence").

use super::error::{Result, Span, SyntaxError};
use super::syntax::{Expr, Kind, Other};
use super::token::{Spanned, Token, tokens};

mod call;
mod comparison;
mod hint;
mod infix;
mod prefix;
mod type_name;

use infix::{Infix, Level};

/// Nodes above each other, at most.
pub const MAX_DEPTH: usize = 64;

pub fn parse(source: &str) -> Result<Expr> {
    let tokens = tokens(source)?;
    let mut parser = Parser {
        source,
        tokens: &tokens,
        at: 0,
        depth: 0,
    };
    if *parser.peek() == Token::End {
        return Err(SyntaxError::new(0..0, "the expression is empty"));
    }
    let expr = parser.expression(0)?;
    match parser.peek() {
        Token::End => Ok(expr),
        _ => Err(parser.unexpected_after(&expr)),
    }
}

struct Parser<'a> {
    /// For messages.
    source: &'a str,
    tokens: &'a [Spanned],
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> &'a Token {
        self.tokens
            .get(self.at)
            .map_or(&Token::End, |one| &one.token)
    }

    fn peek_behind(&self, count: usize) -> &'a Token {
        let at = self.at + count;
        self.tokens.get(at).map_or(&Token::End, |one| &one.token)
    }

    fn span(&self) -> Span {
        let last = self.tokens.last().map_or(0..0, |one| one.at.clone());
        self.tokens.get(self.at).map_or(last, |one| one.at.clone())
    }

    fn advance(&mut self) {
        self.at += 1;
    }

    /// Takes the word where it comes next.
    fn take(&mut self, word: &str) -> bool {
        let takes = matches!(self.peek(), Token::Word(met) if met == word);
        self.at += usize::from(takes);
        takes
    }

    fn is_next(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Word(met) if met == word)
    }

    fn expect(&mut self, token: &Token, what: &str) -> Result<()> {
        if self.peek() == token {
            self.advance();
            return Ok(());
        }
        Err(self.refuse(format!("expected {what}, met {}", self.met())))
    }

    fn expect_word(&mut self, word: &str, of: &str) -> Result<()> {
        match self.take(word) {
            true => Ok(()),
            false => Err(self.refuse(format!("expected `{word}` {of}, met {}", self.met()))),
        }
    }

    fn refuse(&self, message: impl Into<String>) -> SyntaxError {
        SyntaxError::new(self.span(), message)
    }

    /// The source of what was read, for a message.
    fn source_of(&self, at: &Span) -> &'a str {
        const SHOWN: usize = 60;
        let text = self.source.get(at.clone()).unwrap_or_default();
        match text.chars().count() > SHOWN {
            true => "…",
            false => text,
        }
    }

    /// The next token, as a message names it.
    fn met(&self) -> String {
        match self.peek() {
            Token::Word(word) => format!("`{word}`"),
            Token::Quoted(name) => format!("`\"{name}\"`"),
            Token::Number(number) => format!("`{number}`"),
            Token::Text(text) => format!("the text '{text}'"),
            Token::Operator(operator) => format!("`{operator}`"),
            Token::Open => "`(`".to_owned(),
            Token::Close => "`)`".to_owned(),
            Token::Comma => "`,`".to_owned(),
            Token::Dot => "`.`".to_owned(),
            Token::End => "the end".to_owned(),
        }
    }

    fn node(&self, kind: Kind, at: Span) -> Result<Expr> {
        let depth = 1 + kind
            .children()
            .iter()
            .map(|child| child.depth)
            .max()
            .unwrap_or(0);
        if depth > MAX_DEPTH {
            return Err(SyntaxError::new(at, too_deep()));
        }
        Ok(Expr { kind, at, depth })
    }

    /// An operand with all operators after it that bind at least this strongly.
    fn expression(&mut self, least: u8) -> Result<Expr> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.refuse(too_deep()));
        }
        let mut left = self.prefix()?;
        while let Some(infix) = self.infix() {
            if (infix.level() as u8) < least {
                break;
            }
            left = self.operator(infix, left)?;
        }
        self.depth -= 1;
        Ok(left)
    }

    fn operator(&mut self, infix: Infix, left: Expr) -> Result<Expr> {
        let above = infix.level().above();
        match infix {
            Infix::Or => self.chain("or", left, above, Kind::Or),
            Infix::And => self.chain("and", left, above, Kind::And),
            Infix::Is => self.is(left),
            Infix::Compare(comparison) => self.compare(comparison, left),
            Infix::Between | Infix::In | Infix::Like { .. } => self.membership(infix, left, false),
            Infix::Not => {
                self.advance();
                match self.infix() {
                    Some(infix @ (Infix::Between | Infix::In | Infix::Like { .. })) => {
                        self.membership(infix, left, true)
                    }
                    _ => {
                        let hint = match self.peek() {
                            Token::Word(word) if word == "null" => ": write `is not null`",
                            Token::Operator("=") => ": write `<>`",
                            Token::Operator(_) => "",
                            _ => ": to compare with a value write `<>`",
                        };
                        Err(self.refuse(format!(
                            "expected `in`, `between`, `like` or `ilike` after `not`, met {}{hint}",
                            self.met()
                        )))
                    }
                }
            }
            Infix::Other(other) => {
                self.advance();
                let right = self.expression(above)?;
                self.member_then_operator(other, &left, &right)?;
                self.binary(left, right, |left, right| Kind::Other(other, left, right))
            }
            Infix::Arithmetic(arithmetic) => {
                self.advance();
                let right = self.expression(above)?;
                self.binary(left, right, |left, right| {
                    Kind::Arithmetic(arithmetic, left, right)
                })
            }
            Infix::Collate => {
                self.advance();
                match self.peek() {
                    Token::Quoted(name) if name == "C" => {}
                    _ => {
                        let hint = match self.peek() {
                            Token::Word(word) if word == "c" => "write it in double quotes",
                            _ => {
                                "texts are ordered by their bytes only, as in name < 'b' collate \"C\", and upper and lower case are one by ilike or lower(name)"
                            }
                        };
                        return Err(self.refuse(format!(
                            "expected \"C\" after `collate`, met {}: {hint}",
                            self.met()
                        )));
                    }
                }
                let at = left.at.start..self.span().end;
                self.advance();
                self.node(Kind::Collate(Box::new(left)), at)
            }
            Infix::Cast => {
                self.advance();
                let name = self.type_name()?;
                let at = left.at.start..self.end();
                if let Kind::Text(text) = left.kind {
                    return self.node(Kind::Constant(name, text), at);
                }
                self.node(Kind::Cast(Box::new(left), name), at)
            }
        }
    }

    /// Where the last token taken ends.
    fn end(&self) -> usize {
        let last = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        last.map_or(0, |one| one.at.end)
    }

    fn binary(
        &self,
        left: Expr,
        right: Expr,
        kind: impl FnOnce(Box<Expr>, Box<Expr>) -> Kind,
    ) -> Result<Expr> {
        let at = left.at.start..right.at.end;
        self.node(kind(Box::new(left), Box::new(right)), at)
    }

    fn chain(
        &mut self,
        word: &str,
        first: Expr,
        above: u8,
        kind: fn(Vec<Expr>) -> Kind,
    ) -> Result<Expr> {
        let mut parts = vec![first];
        while self.take(word) {
            parts.push(self.expression(above)?);
        }
        let start = parts.first().map_or(0, |part| part.at.start);
        let end = parts.last().map_or(0, |part| part.at.end);
        self.node(kind(parts), start..end)
    }

    /// `j->>'n'::int` casts the 'n', and `j->>'n' + 1` adds to it, which is hardly meant.
    fn member_then_operator(&self, other: Other, left: &Expr, right: &Expr) -> Result<()> {
        let is_member = matches!(
            other,
            Other::Member | Other::MemberText | Other::Path | Other::PathText
        );
        let is_grouped = self
            .source
            .get(right.at.clone())
            .is_some_and(|text| text.starts_with('('));
        if !is_member || is_grouped {
            return Ok(());
        }
        let member = |name: &Expr| {
            let (left, name) = (self.source_of(&left.at), self.source_of(&name.at));
            format!("({left}{}{name})", other.as_str())
        };
        let message = match &right.kind {
            Kind::Constant(name, text) => {
                let text = text.replace('\'', "''");
                let left = self.source_of(&left.at);
                format!(
                    "the cast belongs to '{text}' alone: write ({left}{}'{text}')::{}",
                    other.as_str(),
                    name.as_str()
                )
            }
            Kind::Cast(of, name) if matches!(of.kind, Kind::Number(_)) => format!(
                "the cast belongs to {} alone: write {}::{}",
                self.source_of(&of.at),
                member(of),
                name.as_str()
            ),
            Kind::Arithmetic(arithmetic, name, value) if matches!(name.kind, Kind::Text(_)) => {
                let sign = arithmetic.as_str();
                format!(
                    "`{sign}` binds more strongly than `{}`: write {}::numeric {sign} {}",
                    other.as_str(),
                    member(name),
                    self.source_of(&value.at)
                )
            }
            _ => return Ok(()),
        };
        Err(SyntaxError::new(right.at.clone(), message))
    }

    fn list(&mut self) -> Result<Vec<Expr>> {
        let mut list = vec![self.expression(0)?];
        while *self.peek() == Token::Comma {
            self.advance();
            list.push(self.expression(0)?);
        }
        Ok(list)
    }

    fn refuse_query(&self) -> Result<()> {
        match self.peek() {
            Token::Word(word)
                if matches!(word.as_str(), "select" | "values" | "with" | "table") =>
            {
                Err(self.refuse(format!(
                    "`{word}`: an expression reads the row alone, and has no subqueries"
                )))
            }
            _ => Ok(()),
        }
    }
}

fn too_deep() -> String {
    format!("nested more than {MAX_DEPTH} deep")
}
