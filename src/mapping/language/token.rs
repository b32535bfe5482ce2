//! Splits an expression into tokens as PostgreSQL's scanner does (`scan.l`), and refuses
//! with the right spelling what the language does not have.

use super::error::{Result, Span, SyntaxError};

mod unknown;

use unknown::{no_number, unexpected, unknown_operator};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A name or a key word, folded to lower case.
    Word(String),
    /// A name in double quotes, exactly as it stands there.
    Quoted(String),
    /// Digits with at most one point and an exponent.
    Number(String),
    /// A constant in single quotes.
    Text(String),
    Operator(&'static str),
    Open,
    Close,
    Comma,
    Dot,
    End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spanned {
    pub token: Token,
    pub at: Span,
}

/// The operators of the language, as they are lexed.
const OPERATORS: [&str; 20] = [
    "+", "-", "*", "/", "%", "<", ">", "=", "<>", "!=", "<=", ">=", "||", "->", "->>", "#>", "#>>",
    "@>", "<@", "?",
];
const OPERATOR_CHARACTERS: &[u8] = b"+-*/<>=~!@#%^&|`?";
const COMMENT: &str =
    "an expression has no comments: write them after a `#` in the TOML file, outside the quotes";
/// An operator that holds one of these may end with `+` or `-`.
const MAY_END_WITH_SIGN: &[u8] = b"~!@#%^&|`?";

pub(super) fn tokens(source: &str) -> Result<Vec<Spanned>> {
    let mut lexer = Lexer {
        source,
        at: 0,
        tokens: Vec::new(),
    };
    lexer.run()?;
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    tokens: Vec<Spanned>,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        self.source.get(self.at..).unwrap_or_default()
    }

    fn push(&mut self, token: Token, length: usize) {
        let at = self.at..self.at + length;
        self.at = at.end;
        self.tokens.push(Spanned { token, at });
    }

    fn refuse<T>(&self, length: usize, message: impl Into<String>) -> Result<T> {
        Err(SyntaxError::new(self.at..self.at + length, message))
    }

    fn run(&mut self) -> Result<()> {
        loop {
            let blanks = self.rest().len() - self.rest().trim_start_matches(BLANKS).len();
            self.at += blanks;
            let Some(first) = self.rest().chars().next() else {
                self.push(Token::End, 0);
                return Ok(());
            };
            match first {
                '(' => self.push(Token::Open, 1),
                ')' => self.push(Token::Close, 1),
                ',' => self.push(Token::Comma, 1),
                '.' if self.rest()[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                    let digits = run_of(&self.rest()[1..], |c| c.is_ascii_digit());
                    let message = match self.touches_name() {
                        true => format!(
                            "a name does not begin with a digit: a member of json by its place is written column->{digits}"
                        ),
                        false => format!("a number begins with a digit: write 0.{digits}"),
                    };
                    return self.refuse(1 + digits.len(), message);
                }
                '.' => self.push(Token::Dot, 1),
                '0'..='9' => self.number()?,
                '\'' => self.text()?,
                '"' => self.quoted()?,
                ':' => self.colon()?,
                c if begins_word(c) => self.word()?,
                c if c.is_ascii() && OPERATOR_CHARACTERS.contains(&(c as u8)) => self.operator()?,
                c => {
                    let message = unexpected(c, self.rest(), self.tokens.last());
                    return self.refuse(c.len_utf8(), message);
                }
            }
        }
    }

    fn number(&mut self) -> Result<()> {
        let rest = self.rest();
        let mut length = run_of(rest, |c| c.is_ascii_digit()).len();
        if let Some(fraction) = rest[length..].strip_prefix('.') {
            let digits = run_of(fraction, |c| c.is_ascii_digit()).len();
            if digits == 0 {
                let whole = &rest[..length];
                return self.refuse(
                    length + 1,
                    format!("a number ends with a digit: write {whole} or {whole}.0"),
                );
            }
            length += 1 + digits;
        }
        if let Some(exponent) = rest[length..].strip_prefix(['e', 'E']) {
            let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            let digits = run_of(unsigned, |c| c.is_ascii_digit()).len();
            if digits > 0 {
                length += 1 + (exponent.len() - unsigned.len()) + digits;
            }
        }
        let behind = run_of(&rest[length..], continues_word);
        if !behind.is_empty() {
            let all = length + behind.len();
            return self.refuse(all, no_number(&rest[..all], &rest[..length]));
        }
        if rest[length..].starts_with('.') {
            let all = run_of(rest, |c| c == '.' || continues_word(c));
            return self.refuse(
                all.len(),
                format!("`{all}` is no number, for it has a second point: a text is written in quotes, '{all}'"),
            );
        }
        let number = rest[..length].to_owned();
        self.push(Token::Number(number), length);
        Ok(())
    }

    fn text(&mut self) -> Result<()> {
        let Some((text, length)) = closed(self.rest(), '\'') else {
            let escapes = self
                .tokens
                .iter()
                .any(|one| matches!(&one.token, Token::Text(text) if text.ends_with('\\')));
            let hint = match escapes {
                true => {
                    "a backslash escapes nothing, and a `'` inside a text is written `''`, as in 'it''s'"
                }
                false => "a `'` inside a text is written `''`, as in 'it''s'",
            };
            return self.refuse(
                self.rest().len(),
                format!(
                    "the text that begins here is not closed: expected a `'` at its end ({hint})"
                ),
            );
        };
        self.push(Token::Text(text), length);
        Ok(())
    }

    fn quoted(&mut self) -> Result<()> {
        let Some((name, length)) = closed(self.rest(), '"') else {
            return self.refuse(
                self.rest().len(),
                "the name that begins here is not closed: expected a `\"` at its end (texts are written in single quotes)",
            );
        };
        if name.is_empty() {
            return self.refuse(
                length,
                "a name in double quotes is empty: an empty text is ''",
            );
        }
        self.push(Token::Quoted(name), length);
        Ok(())
    }

    fn word(&mut self) -> Result<()> {
        let word = run_of(self.rest(), continues_word);
        let length = word.len();
        let behind = &self.rest()[length..];
        let prefix = word.to_ascii_lowercase();
        // Those of PostgreSQL, and those of Python.
        let is_prefix = matches!(
            prefix.as_str(),
            "e" | "b" | "x" | "n" | "r" | "f" | "u" | "rb"
        ) && behind.starts_with(['\'', '"'])
            || prefix == "u" && (behind.starts_with("&'") || behind.starts_with("&\""));
        if is_prefix {
            return self.refuse(
                length + 1,
                format!(
                    "texts have no prefix: write 'text' without `{word}`, a `'` inside it as `''`"
                ),
            );
        }
        self.push(Token::Word(prefix), length);
        Ok(())
    }

    fn colon(&mut self) -> Result<()> {
        if self.rest().starts_with("::") {
            self.push(Token::Operator("::"), 2);
            return Ok(());
        }
        let asked = self
            .tokens
            .iter()
            .any(|one| one.token == Token::Operator("?"));
        let is_name = self.rest()[1..].starts_with(begins_word);
        let hint = if self.rest().starts_with(":=") {
            "equality is `=`"
        } else if asked {
            "write `case when condition then value else other end`, or `coalesce(a, b)`"
        } else if is_name && self.touches_name() {
            "a member of json is written column->>'name', a cast value::type, a column new.name"
        } else if is_name {
            "there are no parameters: write the value, or the column's name without `:`"
        } else {
            "a cast is `value::type`, equality is `=`"
        };
        self.refuse(1, format!("`:` alone means nothing here: {hint}"))
    }

    /// Whether a name, or what is closed, ends where the next token begins.
    fn touches_name(&self) -> bool {
        self.tokens.last().is_some_and(|one| {
            one.at.end == self.at
                && matches!(one.token, Token::Word(_) | Token::Quoted(_) | Token::Close)
        })
    }

    /// The longest run of operator characters, of which a sign at the end is left for what
    /// follows (PostgreSQL, Lexical Structure, Operators).
    fn operator(&mut self) -> Result<()> {
        let run = run_of(self.rest(), |c| {
            c.is_ascii() && OPERATOR_CHARACTERS.contains(&(c as u8))
        });
        let comment = run.find("--").into_iter().chain(run.find("/*")).min();
        if comment == Some(0) {
            return self.refuse(2, COMMENT);
        }
        let mut operator = &run[..comment.unwrap_or(run.len())];
        while operator.len() > 1
            && operator.ends_with(['+', '-'])
            && !operator
                .bytes()
                .rev()
                .skip(1)
                .any(|byte| MAY_END_WITH_SIGN.contains(&byte))
        {
            operator = &operator[..operator.len() - 1];
        }
        // Lexed as one operator by the server too.
        let known = OPERATORS
            .into_iter()
            .chain(["&&"])
            .find(|known| *known == operator);
        match known {
            Some(known) => {
                self.push(Token::Operator(known), operator.len());
                Ok(())
            }
            None => self.refuse(operator.len(), unknown_operator(operator, self.rest())),
        }
    }
}

/// What PostgreSQL takes for blanks.
const BLANKS: [char; 5] = [' ', '\t', '\n', '\r', '\u{c}'];

fn run_of(text: &str, holds: impl Fn(char) -> bool) -> &str {
    let end = text.find(|c: char| !holds(c)).unwrap_or(text.len());
    &text[..end]
}

fn begins_word(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn continues_word(c: char) -> bool {
    c == '_' || c == '$' || c.is_alphanumeric()
}

/// What stands between two quotes, doubled ones halved, and how long all of it is.
fn closed(text: &str, quote: char) -> Option<(String, usize)> {
    let mut inside = String::new();
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if c != quote {
            inside.push(c);
        } else if characters.peek().is_some_and(|(_, next)| *next == quote) {
            characters.next();
            inside.push(quote);
        } else {
            return Some((inside, at + 1));
        }
    }
    None
}
