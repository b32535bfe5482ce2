//! `@>` and `=` of jsonb.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::number::compare_numbers;
use super::parse::key_order;
use super::scan::{Next, Scanner, string_equals, unescape};
use super::{Json, JsonError};

/// `container @> contained` of jsonb, which is `contained <@ container`. The container is
/// the text that the server prints; `contained` comes from [`Json::parse_jsonb`].
pub fn contains(container: &str, contained: &Json<'_>) -> Result<bool, JsonError> {
    let mut scanner = Scanner::new(container);
    match (scanner.peek(), contained) {
        (None, _) => Err(scanner.expected("a JSON value")),
        // At the top alone an array contains a scalar as if that were an array of one.
        (Some(b'['), Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_)) => {
            scanner.advance();
            has_element(scanner, contained)
        }
        _ => value_contains(&mut scanner, contained),
    }
}

/// `=` of jsonb: by value, of two texts in normal form.
pub fn equals(a: &str, b: &str) -> Result<bool, JsonError> {
    if a == b {
        return Ok(true);
    }
    let (a_text, b_text) = (a, b);
    // Equal values have the same text but for zeros at the end of their numbers.
    let (mut a, mut b) = (Scanner::new(a), Scanner::new(b));
    loop {
        match (a.peek(), b.peek()) {
            (None, None) => return Ok(true),
            (Some(b'"'), Some(b'"')) => {
                let (a_string, b_string) = (a.string()?, b.string()?);
                if !same_string(a_string, b_string)? {
                    let is_key = a.peek() == Some(b':') && b.peek() == Some(b':');
                    // Only such keys have another order in another encoding.
                    if is_key && !(a_string.is_ascii() && b_string.is_ascii()) {
                        let (a, b) = (Json::parse_jsonb(a_text)?, Json::parse_jsonb(b_text)?);
                        return Ok(same_tree(&a, &b));
                    }
                    return Ok(false);
                }
            }
            (Some(b'{' | b'[' | b']' | b'}' | b',' | b':'), _) => {
                if a.peek() != b.peek() {
                    return Ok(false);
                }
                a.advance();
                b.advance();
            }
            (Some(b'-' | b'0'..=b'9'), Some(b'-' | b'0'..=b'9')) => {
                if compare_numbers(a.word()?, b.word()?) != Ordering::Equal {
                    return Ok(false);
                }
            }
            (Some(b't' | b'f' | b'n'), Some(b't' | b'f' | b'n')) => {
                if a.word()? != b.word()? {
                    return Ok(false);
                }
            }
            _ => return Ok(false),
        }
        a.skip_blanks();
        b.skip_blanks();
    }
}

fn same_string(a: &str, b: &str) -> Result<bool, JsonError> {
    if a == b || !(a.contains('\\') || b.contains('\\')) {
        return Ok(a == b);
    }
    string_equals(a, &unescape(b, 0)?)
}

/// Whether two trees of [`Json::parse_jsonb`] are equal.
fn same_tree(a: &Json<'_>, b: &Json<'_>) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => compare_numbers(a, b) == Ordering::Equal,
        (Json::Array(a), Json::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_tree(a, b))
        }
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len()
                && (a.iter().zip(b)).all(|(a, b)| a.0 == b.0 && same_tree(&a.1, &b.1))
        }
        (a, b) => a == b,
    }
}

/// Whether the value at the scanner contains the other, below the top. Where it does, the
/// value has been read; else the scanner stands anywhere in it.
fn value_contains(scanner: &mut Scanner<'_>, contained: &Json<'_>) -> Result<bool, JsonError> {
    match (scanner.peek(), contained) {
        (Some(b'{'), Json::Object(members)) => {
            scanner.advance();
            // A key occurs once on either side, so it is enough to count.
            let mut found = 0;
            let mut next = Next::First;
            while let Some(key) = scanner.next_member(&mut next)? {
                match find_member(members, found, key)? {
                    Some(value) => {
                        if !value_contains(scanner, value)? {
                            return Ok(false);
                        }
                        found += 1;
                    }
                    None => scanner.skip_value()?,
                }
            }
            Ok(found == members.len())
        }
        (Some(b'['), Json::Array(elements)) => {
            let mut inside = *scanner;
            inside.advance();
            for element in elements {
                if !has_element(inside, element)? {
                    return Ok(false);
                }
            }
            scanner.skip_value()?;
            Ok(true)
        }
        (Some(b'"'), Json::String(text)) => string_equals(scanner.string()?, text),
        (Some(b'-' | b'0'..=b'9'), Json::Number(number)) => {
            Ok(compare_numbers(scanner.word()?, number) == Ordering::Equal)
        }
        (Some(b't' | b'f'), Json::Bool(value)) => {
            Ok(scanner.word()? == if *value { "true" } else { "false" })
        }
        (Some(b'n'), Json::Null) => scanner.word().map(|_| true),
        _ => Ok(false),
    }
}

/// The member with the key, escapes as written. It is most likely at `place`, as both
/// sides are sorted; but a database of another encoding than UTF-8 counts the bytes of its
/// own, so that the orders may differ.
fn find_member<'t, 'j>(
    members: &'t [(Cow<'j, str>, Json<'j>)],
    place: usize,
    key: &str,
) -> Result<Option<&'t Json<'j>>, JsonError> {
    if let Some((name, value)) = members.get(place)
        && string_equals(key, name)?
    {
        return Ok(Some(value));
    }
    let key = unescape(key, 0)?;
    let found = members.binary_search_by(|(name, _)| key_order(name, &key));
    Ok(found
        .ok()
        .and_then(|index| members.get(index))
        .map(|(_, value)| value))
}

/// Whether an element of the array whose `[` was just read contains the other.
fn has_element(mut scanner: Scanner<'_>, contained: &Json<'_>) -> Result<bool, JsonError> {
    let mut next = Next::First;
    while scanner.next_element(&mut next)? {
        let mut element = scanner;
        if value_contains(&mut element, contained)? {
            return Ok(true);
        }
        scanner.skip_value()?;
    }
    Ok(false)
}
