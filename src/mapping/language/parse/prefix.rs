//! Operands: constants, names, calls, and what begins with a word of its own.

use crate::mapping::language::error::{Result, SyntaxError};
use crate::mapping::language::syntax::{Expr, Kind, Name, TypeName};
use crate::mapping::language::token::Token;
use crate::mapping::language::words::is_reserved;

use super::hint::{method, reserved, unknown_type};
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
                            "a list in parentheses, as in (a, b), stands behind `in` only: compare column by column with `and`; bounds are written between a and b",
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
                self.expect(&Token::Close, "`)` behind the condition of `became`")?;
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
                        return Err(self.refuse("expected a text in quotes behind the type"));
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

    /// Takes a word and the parenthesis behind it.
    fn open(&mut self) {
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
                        self.refuse(format!("expected a name behind `.`, met {}", self.met()))
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

    fn call(&mut self, word: &str) -> Result<Expr> {
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

    fn cast(&mut self) -> Result<Expr> {
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
        self.expect(&Token::Close, "`)` behind the type of `cast`")?;
        let at = start..self.end();
        match of.kind {
            Kind::Text(text) => self.node(Kind::Constant(name, text), at),
            _ => self.node(Kind::Cast(Box::new(of), name), at),
        }
    }

    fn extract(&mut self) -> Result<Expr> {
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
            "behind the field, as in extract(year from created_at)",
        )?;
        let of = self.expression(0)?;
        self.expect(&Token::Close, "`)` behind the value of `extract`")?;
        let at = start..self.end();
        self.node(Kind::Extract(field, Box::new(of)), at)
    }

    /// `substring(x from a for b)` and `substring(x, a, b)`.
    fn substring(&mut self) -> Result<Expr> {
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
        self.expect(&Token::Close, "`)` behind `substring(x from a for b)`")?;
        let at = start..self.end();
        self.node(Kind::Call("substring".to_owned(), arguments), at)
    }

    fn position(&mut self) -> Result<Expr> {
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
        self.expect(&Token::Close, "`)` behind `position(part in whole)`")?;
        let at = start..self.end();
        self.node(Kind::Call("strpos".to_owned(), vec![whole, part]), at)
    }

    /// A type before a constant in quotes, as in `interval '1 day'`.
    fn constant_type(&mut self) -> Result<Option<TypeName>> {
        let Token::Word(word) = self.peek() else {
            return Ok(None);
        };
        if let Token::Text(_) = self.peek_behind(1)
            && is_type(word)
        {
            return self.type_name().map(Some);
        }
        let (Token::Word(one), Token::Word(two)) = (self.peek_behind(1), self.peek_behind(2))
        else {
            return Ok(None);
        };
        let spelt = match (word.as_str(), one.as_str(), two.as_str()) {
            ("timestamp", "with" | "without", "time") => 4,
            _ => return Ok(None),
        };
        match self.peek_behind(spelt) {
            Token::Text(_) => self.type_name().map(Some),
            _ => Ok(None),
        }
    }

    /// A type, with the spellings that PostgreSQL takes.
    pub(super) fn type_name(&mut self) -> Result<TypeName> {
        let start = self.span();
        let Token::Word(word) = self.peek() else {
            return Err(self.refuse(format!("expected a type, met {}", self.met())));
        };
        let word = word.as_str();
        self.advance();
        let name = match word {
            "boolean" | "bool" => TypeName::Boolean,
            "smallint" | "int2" => TypeName::Smallint,
            "integer" | "int" | "int4" => TypeName::Integer,
            "bigint" | "int8" => TypeName::Bigint,
            "numeric" | "decimal" | "dec" => TypeName::Numeric,
            "real" | "float4" => TypeName::Real,
            "float8" | "float" => TypeName::Double,
            "double" if self.take("precision") => TypeName::Double,
            "text" => TypeName::Text,
            "varchar" => TypeName::Varchar,
            "character" if self.take("varying") => TypeName::Varchar,
            "uuid" => TypeName::Uuid,
            "date" => TypeName::Date,
            "timestamptz" => TypeName::Timestamptz,
            "timestamp" => self.timestamp()?,
            "interval" => TypeName::Interval,
            "json" => TypeName::Json,
            "jsonb" => TypeName::Jsonb,
            "bytea" => TypeName::Bytea,
            _ => {
                return Err(SyntaxError::new(start, unknown_type(word)));
            }
        };
        match self.peek() {
            Token::Open => {
                let hint = match name {
                    TypeName::Numeric => ": write round(x, 2) instead",
                    TypeName::Varchar => ": write left(x, 10) instead",
                    _ => "",
                };
                Err(self.refuse(format!(
                    "types take no length or precision in parentheses{hint}"
                )))
            }
            _ => Ok(name),
        }
    }

    fn timestamp(&mut self) -> Result<TypeName> {
        let with = match self.peek() {
            Token::Word(word) if word == "with" => true,
            Token::Word(word) if word == "without" => false,
            _ => return Ok(TypeName::Timestamp),
        };
        self.advance();
        self.expect_word("time", "in the type `timestamp with time zone`")?;
        self.expect_word("zone", "in the type `timestamp with time zone`")?;
        Ok(match with {
            true => TypeName::Timestamptz,
            false => TypeName::Timestamp,
        })
    }
}

/// Whether a constant in quotes may follow the word as its type.
fn is_type(word: &str) -> bool {
    const TYPES: [&str; 22] = [
        "boolean",
        "bool",
        "smallint",
        "int2",
        "integer",
        "int",
        "int4",
        "bigint",
        "int8",
        "numeric",
        "decimal",
        "real",
        "float4",
        "float8",
        "float",
        "text",
        "varchar",
        "uuid",
        "date",
        "timestamp",
        "timestamptz",
        "interval",
    ];
    TYPES.contains(&word) || matches!(word, "json" | "jsonb" | "bytea")
}
