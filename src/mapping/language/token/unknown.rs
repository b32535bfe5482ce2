//! What the language does not have, and how it is written instead.

use super::{COMMENT, Spanned, Token, continues_word, run_of};

/// A character that begins no token; `rest` begins with it.
pub(super) fn unexpected(c: char, rest: &str, before: Option<&Spanned>) -> String {
    let hint = match c {
        ';' => "one expression stands alone, without `;`".to_owned(),
        '[' => brackets(rest, before),
        ']' => "there are no `[…]`: an array is written '{a,b}'".to_owned(),
        '{' => braces(rest, before),
        '}' => "there are no braces: write the expression alone".to_owned(),
        '$' => dollar(rest),
        '\\' => "a text is written 'text', a `'` inside it as `''`".to_owned(),
        '‘' | '’' | '‚' | '‛' | '′' | '“' | '”' | '„' | '″' | '«' | '»' | '´' => {
            "a typographic quote; texts stand in straight single quotes, 'text'".to_owned()
        }
        '…' => "it stands for what you put in its place, such as a column's name".to_owned(),
        '≤' => "write <=".to_owned(),
        '≥' => "write >=".to_owned(),
        '≠' => "write <>".to_owned(),
        '×' | '·' => "write *".to_owned(),
        '÷' => "write /".to_owned(),
        '−' | '–' | '—' => "write -".to_owned(),
        '∧' => "write and".to_owned(),
        '∨' => "write or".to_owned(),
        '¬' => "write not".to_owned(),
        '∈' => "write in ('a', 'b'), or 'x' = any(array)".to_owned(),
        '\u{a0}' | '\u{200b}' | '\u{feff}' | '\u{b}' => {
            return format!(
                "unexpected character U+{:04X}: an invisible character; write a space",
                u32::from(c)
            );
        }
        c if c.is_control() || c.is_whitespace() => {
            return format!("unexpected character U+{:04X}", u32::from(c));
        }
        _ => return format!("unexpected `{c}`"),
    };
    format!("unexpected `{c}`: {hint}")
}

/// What stands between the bracket that `rest` begins with and the one that closes it.
fn inside(rest: &str, close: char) -> &str {
    let inner = rest.get(1..).unwrap_or_default();
    let end = inner.find(close).unwrap_or(inner.len());
    inner[..end].trim()
}

/// Texts as a list has them.
fn as_list(inner: &str) -> String {
    match inner.contains('\'') {
        true => inner.to_owned(),
        false => inner.replace('"', "'"),
    }
}

/// Texts as an array has them.
fn as_array(inner: &str) -> String {
    let elements = inner
        .split(',')
        .map(|one| one.trim().trim_matches(['\'', '"']));
    format!("'{{{}}}'", elements.collect::<Vec<_>>().join(","))
}

fn is_text(inner: &str) -> bool {
    inner.starts_with(['\'', '"'])
}

fn brackets(rest: &str, before: Option<&Spanned>) -> String {
    let inner = inside(rest, ']');
    let name = inner.trim_matches(['\'', '"']);
    match before.map(|one| &one.token) {
        Some(Token::Word(word)) if word == "in" => {
            format!("a list stands in parentheses: write in ({})", as_list(inner))
        }
        Some(Token::Word(word)) if word == "array" => {
            format!("there is no `array[…]`: write {}", as_array(inner))
        }
        Some(Token::Word(word)) if matches!(word.as_str(), "new" | "old") => {
            format!("a column is written {word}.{name}")
        }
        Some(Token::Word(word)) if is_text(inner) => {
            format!("a member of json is written {word}->>'{name}'")
        }
        Some(Token::Quoted(_) | Token::Close) if is_text(inner) => {
            format!("a member of json is written ->>'{name}'")
        }
        Some(Token::Word(_)) if inner.is_empty() => {
            "arrays have no casts: an array is written '{a,b}'".to_owned()
        }
        Some(Token::Word(word)) => format!(
            "there are no subscripts: for an element of an array write 'x' = any({word}), for one of json {word}->0 or {word}->>0"
        ),
        Some(Token::Quoted(_) | Token::Close) => {
            "there are no subscripts: for an element of an array write 'x' = any(array), for one of json ->0 or ->>0".to_owned()
        }
        _ if !inner.is_empty() && inner.chars().all(continues_word) && !inner.starts_with(|c: char| c.is_ascii_digit()) => {
            format!("a column's name has no brackets: write {inner}, or \"{inner}\" in double quotes")
        }
        _ => format!("an array is written {}, a list after `in` in parentheses", as_array(inner)),
    }
}

fn braces(rest: &str, before: Option<&Spanned>) -> String {
    if rest.starts_with("{{") {
        let inner = inside(&rest[1..], '}').replace("==", "=");
        return format!(
            "there are no template braces, for the whole text is an expression: write {inner}"
        );
    }
    if rest.starts_with("{%") {
        return "there are no template statements: write `case when condition then value else other end`".to_owned();
    }
    let inner = inside(rest, '}');
    match before.map(|one| &one.token) {
        Some(Token::Word(word)) if word == "in" => {
            format!(
                "a list stands in parentheses: write in ({})",
                as_list(inner)
            )
        }
        _ if inner.contains(':') => format!(
            "json is written as a text in quotes: '{{{}}}'",
            inner.replace('\'', "\"")
        ),
        _ => format!(
            "an array is written as a text in quotes: {}",
            as_array(inner)
        ),
    }
}

fn dollar(rest: &str) -> String {
    let inner = rest.get(1..).unwrap_or_default();
    let name = run_of(inner.trim_start_matches('{'), continues_word);
    if inner.starts_with('$') {
        return "there are no dollar quotes: a text is written 'text'".to_owned();
    }
    match name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() {
        true => "there are no parameters: write the value itself".to_owned(),
        false => format!("there are no variables: write {name}"),
    }
}

/// A word that begins with digits; `number` are they alone.
pub(super) fn no_number(word: &str, number: &str) -> String {
    let digits = word.replace('_', "");
    let hex = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"));
    let hint = if let Some(value) = hex.and_then(|hex| u64::from_str_radix(hex, 16).ok()) {
        format!("write {value}")
    } else if digits.parse::<u64>().is_ok() {
        format!("write {digits}")
    } else if word.len() > number.len() + 2 {
        format!("a column of that name is written \"{word}\", a text '{word}'")
    } else {
        format!("write {number}")
    };
    format!(
        "`{word}` is no number, for numbers are decimal digits without suffix or separator: {hint}"
    )
}

/// What people of other languages mean by it; `rest` begins with the operator.
pub(super) fn unknown_operator(operator: &str, rest: &str) -> String {
    if let Some(at) = operator.find('`') {
        let name = inside(&rest[at..], '`');
        return format!(
            "a backtick quotes nothing here: write {name} for a column (\"{name}\" where it has capitals or spaces), '{name}' for a text"
        );
    }
    let hint = match operator {
        "==" | "===" => "equality is `=`",
        "!==" | "=!" | "><" | "=/=" => "inequality is `<>`",
        "=>" => "greater or equal is `>=`",
        "=<" => "less or equal is `<=`",
        "<=>" => "write `a is not distinct from b`",
        "!" if rest[1..].trim_start().starts_with('=') => "inequality is `<>`",
        "!" | "!!" => "write `not`",
        "&" => "write `and`",
        "|" if rest[1..].trim_start().starts_with(super::begins_word) => {
            let name = run_of(rest[1..].trim_start(), continues_word);
            return format!(
                "there is no operator `|`: a function stands before its argument, as in {name}(value); write `or` between conditions, `||` between texts"
            );
        }
        "|" => "write `or`, or `||` to join texts",
        "^" | "**" => "there are no powers: multiply",
        "//" => "write `/`, which truncates between integers; there are no comments",
        "~" | "~*" | "!~" | "!~*" | "=~" | "~=" => {
            "there are no regular expressions: write `like 'begin%'` or `ilike`; texts are joined by `||`"
        }
        "~~" => "write `like`",
        "~~*" => "write `ilike`",
        "!~~" => "write `not like`",
        "!~~*" => "write `not ilike`",
        "?|" | "?&" => "write `column ? 'a' or column ? 'b'`, or with `and`",
        "@@" | "@?" => "there is no jsonpath: write `->` and `->>`",
        "??" => "write `coalesce(a, b)`",
        "+=" | "-=" | "*=" | "/=" => "an expression assigns nothing; equality is `=`",
        "@" | "@@@" => {
            "there are no variables: write the column's name alone; the amount of a number is abs(x)"
        }
        "#" => return COMMENT.to_owned(),
        "#-" => "json is not altered: write `#>` or `#>>`",
        "->>>" | "-->" => "a member of json as text is `->>`",
        "<<" | ">>" => "bits are not shifted; less is `<`, greater `>`",
        _ if operator.starts_with('/') => {
            "there are no regular expressions: write `like 'begin%'` or `ilike`"
        }
        _ => "",
    };
    if hint.is_empty()
        && let Some((name, sign)) = operator.split_at_checked(operator.len() - 1)
        && matches!(sign, "-" | "+")
    {
        return format!("`{operator}` is read as one operator: write a space, `{name} {sign}`");
    }
    match hint {
        "" => format!("there is no operator `{operator}`"),
        hint => format!("there is no operator `{operator}`: {hint}"),
    }
}
