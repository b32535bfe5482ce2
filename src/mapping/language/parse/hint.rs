//! What was met instead of what was expected, and what its writer means.

use crate::mapping::file::suggestion;
use crate::mapping::language::error::SyntaxError;
use crate::mapping::language::syntax::{Expr, Kind};
use crate::mapping::language::token::Token;
use crate::mapping::language::words::is_reserved;

use super::Parser;

impl Parser<'_> {
    /// What stands where a value was expected.
    pub(super) fn expected_value(&self) -> String {
        let before = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        let (behind, hint) = match before.map(|one| &one.token) {
            None => (String::new(), ""),
            Some(Token::Open | Token::Comma) => (String::new(), ""),
            Some(_) => {
                let before = before.map_or("", |one| self.source_of(&one.at));
                let is_junction = matches!(before.to_lowercase().as_str(), "and" | "or");
                let hint = match self.peek() {
                    Token::Operator("=") if matches!(before, "<" | ">") => {
                        ": `<=` and `>=` are written without a space"
                    }
                    Token::Operator(">") if before == "<" => ": `<>` is written without a space",
                    Token::Operator("=" | "<>" | "!=" | "<" | "<=" | ">" | ">=") if is_junction => {
                        ": write the column again, as in status = 'a' or status = 'b', or write status in ('a', 'b')"
                    }
                    _ => "",
                };
                (format!(" after `{before}`"), hint)
            }
        };
        let hint = match self.peek() {
            Token::Operator("&&") => ": conditions are joined by `and`",
            Token::Operator("||") => ": conditions are joined by `or`, texts by `||`",
            _ => hint,
        };
        format!("expected a value{behind}, met {}{hint}", self.met())
    }

    /// What stands where an operator or the end was expected.
    pub(super) fn unexpected_after(&self, left: &Expr) -> SyntaxError {
        let hint = match self.peek() {
            _ if let Some(hint) = self.word_before() => hint,
            Token::Word(word) => self.word_behind(word, left),
            Token::Number(next) if let Some(Token::Number(number)) = self.before() => {
                format!("a number has no separators: write {number}{next}")
            }
            Token::Text(_) if matches!(left.kind, Kind::Text(_) | Kind::Number(_)) => {
                "join texts with `||`".to_owned()
            }
            Token::Open => "a function's name stands before its parenthesis".to_owned(),
            Token::Close => "there is no `(` that it closes".to_owned(),
            Token::Comma => match (self.before(), self.peek_behind(1)) {
                (Some(Token::Number(a)), Token::Number(b)) => {
                    let number = match b.len() == 3 && !a.contains('.') {
                        true => format!("{a}{b}"),
                        false => format!("{}.{b}", a.replace('.', "")),
                    };
                    format!(
                        "a number has no separators, and its fraction begins with a point: write {number}"
                    )
                }
                _ => "one value is expected, not a list; conditions are joined by `and`".to_owned(),
            },
            _ => String::new(),
        };
        let colon = if hint.is_empty() { "" } else { ": " };
        self.refuse(format!(
            "expected an operator or the end, met {}{colon}{hint}",
            self.met()
        ))
    }

    fn before(&self) -> Option<&Token> {
        let at = self.at.checked_sub(1)?;
        self.tokens.get(at).map(|one| &one.token)
    }

    /// Where the word before the next token was taken for a column, and hardly is one.
    fn word_before(&self) -> Option<String> {
        let Some(Token::Word(word)) = self.before() else {
            return None;
        };
        let next = self
            .tokens
            .get(self.at)
            .map_or("", |one| self.source_of(&one.at));
        let second = match self.peek_behind(1) {
            Token::Word(word) => word.as_str(),
            _ => "",
        };
        Some(match (word.as_str(), self.peek()) {
            ("interval", Token::Number(count)) => {
                let unit = if second.is_empty() { "days" } else { second };
                format!("write interval '{count} {unit}', in quotes")
            }
            ("if" | "unless" | "switch", _) => {
                "write `case when condition then value else other end`".to_owned()
            }
            ("became", _) => "write it as a function, as in became(status = 'paid')".to_owned(),
            ("changed", Token::Word(_)) => format!("write it as a function: changed({next})"),
            ("exists" | "defined", _) => format!("write {next} is not null"),
            (
                "lower" | "upper" | "length" | "abs" | "trim" | "count" | "sum" | "concat"
                | "coalesce" | "round",
                _,
            ) => {
                format!("a function's argument stands in parentheses: write {word}({next})")
            }
            ("time", Token::Text(_)) => {
                "times of day have no type here: write extract(hour from x)".to_owned()
            }
            (word, Token::Text(_)) if !is_reserved(word) => format!(
                "`{word}` is no type that a text may have; a label of an enum is written {next} alone"
            ),
            _ => return None,
        })
    }

    fn word_behind(&self, word: &str, left: &Expr) -> String {
        let touches = self.tokens.get(self.at).map(|one| one.at.start) == Some(self.end());
        let left = self.source_of(&left.at);
        const UNITS: [&str; 14] = [
            "day", "days", "hour", "hours", "minute", "minutes", "second", "seconds", "week",
            "weeks", "month", "months", "year", "years",
        ];
        if UNITS.contains(&word)
            && let Some(Token::Number(count) | Token::Text(count)) = self.before()
        {
            return format!("write interval '{count} {word}'");
        }
        if touches && matches!(self.before(), Some(Token::Text(_))) {
            return "a text begins and ends with one `'`, and a `'` inside it is written `''`"
                .to_owned();
        }
        let text = (1..=2).find_map(|count| match self.peek_behind(count) {
            Token::Text(text) => Some(text.as_str()),
            _ => None,
        });
        let column = match self.before() {
            Some(Token::Word(column)) if !is_reserved(column) => column.as_str(),
            _ => "x",
        };
        let hint = match word {
            "contains" | "includes" | "has" | "contain" => {
                let text = text.unwrap_or("part");
                return format!(
                    "write {column} like '%{text}%' for a text, '{text}' = any({column}) for an array, {column} ? '{text}' for jsonb"
                );
            }
            "startswith" | "starts" | "begins" => {
                return format!("write {column} like '{}%'", text.unwrap_or("begin"));
            }
            "endswith" | "ends" => {
                return format!("write {column} like '%{}'", text.unwrap_or("end"));
            }
            "isnull" => "write `is null`",
            "notnull" => "write `is not null`",
            "similar" | "regexp" | "rlike" | "matches" | "glob" | "match" => {
                "there are no regular expressions: write `like 'begin%'`"
            }
            "at" => "times are in UTC, and there is no `at time zone`: leave it out",
            "eq" | "equals" | "equal" => "write `=`",
            "ne" | "neq" => "write `<>`",
            "gt" | "greater" => "write `>`",
            "ge" | "gte" => "write `>=`",
            "lt" | "less" => "write `<`",
            "le" | "lte" => "write `<=`",
            "mod" => "write `%`",
            "div" => "write `/`, which truncates between integers",
            "plus" => "write `+`",
            "minus" => "write `-`",
            "xor" => "write `a <> b` between conditions",
            "exists" | "defined" | "present" => "write `is not null`",
            "one" | "any" => "write `status in ('a', 'b')`, or `value = any(array)`",
            "then" | "when" | "else" | "end" => "it belongs to `case when … then … else … end`",
            "if" | "unless" => "write `case when condition then value else other end`",
            "became" | "becomes" => "write it as a function, as in became(status = 'paid')",
            "to" => "write became(status = 'paid')",
            "changed" | "changes" | "change" => {
                return format!("write changed({left}), or became({left} = 'paid')");
            }
            "was" => return format!("write old.{left} = …"),
            "as" => "a value gets no other name here",
            "limit" | "order" | "group" | "where" | "from" | "having" | "union" | "join" => {
                "one expression over the row stands alone, without `select`, `from` or `where`"
            }
            _ => "",
        };
        hint.to_owned()
    }
}

/// `status.lower()`, as the functions of objects are written elsewhere.
pub(super) fn method(receiver: &str, name: &str, argument: &str) -> String {
    let quoted = argument.starts_with('\'');
    let part = match quoted {
        true => argument.trim_matches('\''),
        false => "part",
    };
    let write = match name {
        _ if matches!(receiver, "pg_catalog" | "public" | "math" | "Math") => {
            format!("{name}({argument})")
        }
        "now" | "utcnow" | "today" => "committed_at, the commit's time".to_owned(),
        "lower" | "tolowercase" | "downcase" | "casefold" => format!("lower({receiver})"),
        "upper" | "touppercase" | "upcase" => format!("upper({receiver})"),
        "strip" | "trim" => format!("trim({receiver})"),
        "length" | "size" | "count" | "len" => {
            format!("length({receiver}), or cardinality({receiver}) for an array")
        }
        "startswith" | "starts_with" => format!("{receiver} like '{part}%'"),
        "endswith" | "ends_with" => format!("{receiver} like '%{part}'"),
        "includes" | "contains" | "include" | "has" => {
            let value = if argument.is_empty() { "'x'" } else { argument };
            format!("{value} = any({receiver}) for an array, {receiver} like '%{part}%' for a text")
        }
        "get" | "dig" | "fetch" => format!("{receiver}->>'{}'", if quoted { part } else { "name" }),
        "tofixed" | "round" => format!(
            "round({receiver}, {})",
            if argument.is_empty() { "0" } else { argument }
        ),
        "tostring" | "to_s" | "str" => format!("{receiver}::text"),
        "to_i" | "toint" => format!("{receiver}::integer"),
        "to_f" | "tonumber" => format!("{receiver}::numeric"),
        "isnull" | "is_null" | "isnil" | "nil" => format!("{receiver} is null"),
        "isnotnull" | "present" | "notnull" => format!("{receiver} is not null"),
        "isempty" | "empty" | "blank" => format!("{receiver} = ''"),
        "equals" | "eq" => format!("{receiver} = {argument}"),
        "in" | "isin" => format!("{receiver} in ('a', 'b')"),
        "match" | "test" | "matches" => {
            "like 'begin%', for there are no regular expressions".to_owned()
        }
        "getfullyear" | "year" => format!("extract(year from {receiver})"),
        "gettime" | "timestamp" => format!("extract(epoch from {receiver})"),
        "date" => format!("{receiver}::date"),
        "changed" => format!("changed({receiver})"),
        name => format!("{name}({receiver})"),
    };
    format!("functions stand before their argument and without a schema: write {write}")
}

/// A word of SQL where a value was expected.
pub(super) fn reserved(word: &str, expected: &str) -> String {
    match word {
        "select" | "with" | "table" => {
            format!("`{word}`: an expression reads the row alone, and has no subqueries")
        }
        "current_timestamp" | "localtimestamp" | "current_date" | "current_time" | "localtime" => {
            format!(
                "there is no `{word}`, for a change is judged as of its commit: write `committed_at`, or `committed_at::date`"
            )
        }
        "array" => "there is no `array[…]`: write an array as '{a,b}'".to_owned(),
        "any" | "all" | "some" => {
            format!("`{word}` stands after a comparison: write `value = any(array)`")
        }
        "distinct" => "`distinct` stands after `is`: write `a is distinct from b`".to_owned(),
        "current_user" | "session_user" | "current_role" | "current_schema" | "system_user" => {
            format!("there is no `{word}`: an expression reads the row and its commit alone")
        }
        "and" | "or" => format!("{expected}: a condition stands before and after it"),
        "in" => format!(
            "{expected}: the value stands before it, as in status in ('paid', 'sent'), or not status in (…)"
        ),
        "is" | "like" | "ilike" | "isnull" | "notnull" | "similar" | "collate" => {
            format!("{expected}: the value stands before it, as in status {word} …")
        }
        "when" | "then" | "else" | "end" => {
            format!("{expected}: it belongs to `case when condition then value else other end`")
        }
        "where" | "from" | "having" | "on" => {
            format!("{expected}: leave it out, for the condition stands alone")
        }
        "as" | "for" => expected.to_owned(),
        _ => format!(
            "`{word}` is a word of SQL: a column of that name is written \"{word}\", in double quotes"
        ),
    }
}

pub(super) fn unknown_type(word: &str) -> String {
    let hint = match word {
        "string" | "str" => "write text",
        "char" | "character" | "bpchar" => {
            "write text; char(n) has a length, which a cast does not take"
        }
        "number" | "money" => "write numeric",
        "long" => "write bigint",
        "short" | "tinyint" => "write smallint",
        "unsigned" | "signed" => "write bigint",
        "datetime" | "datetime2" => "write timestamp, or timestamptz",
        "double" => "write double precision",
        "time" | "timetz" => "times of day are compared nowhere; write extract(hour from x)",
        "serial" | "bigserial" => "write integer or bigint",
        "blob" | "binary" => "write bytea",
        "object" => "write jsonb",
        "regclass" | "oid" => "there is no catalog to look into",
        _ => "",
    };
    match hint {
        "" => format!(
            "there is no cast to `{word}`: expected boolean, smallint, integer, bigint, numeric, real, double precision, text, uuid, date, timestamp, timestamptz, interval or jsonb (an enum's label is compared as it stands, in quotes)"
        ),
        hint => format!("there is no cast to `{word}`: {hint}"),
    }
}

/// What stands after `is` and cannot.
pub(super) fn is_expected(not: &str, met: &str) -> String {
    let word = met.trim_matches('`');
    let equal = if not.is_empty() { "=" } else { "<>" };
    let hint = match word {
        "none" | "nil" | "undefined" | "unknown" | "missing" => format!(": write `is {not}null`"),
        "nan" => format!(": write `{equal} 'NaN'`"),
        "empty" | "blank" => format!(
            ": write `{equal} ''` for an empty text, `{equal} '{{}}'` for an empty array, `is {not}null` for null"
        ),
        "defined" | "present" => ": write `is not null`".to_owned(),
        "in" | "like" | "ilike" | "between" => {
            format!(": leave out the `is`, as in status {not}{word} …")
        }
        "a" | "an" | "of" | "instanceof" => ": types are not asked for".to_owned(),
        "changed" => ": write changed(column)".to_owned(),
        "json" | "document" | "normalized" => String::new(),
        _ if met.starts_with("the text") => format!(": to compare with a value write `{equal}`"),
        _ if met.starts_with('`') => {
            let near = suggestion(word, ["null", "true", "false"]);
            format!(": to compare with a value write `{equal}`{near}")
        }
        _ => String::new(),
    };
    format!("expected `null`, `true`, `false` or `distinct from` after `is`, met {met}{hint}")
}
