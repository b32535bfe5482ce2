//! Array literals: `{1,2}`, `{"a \"b\"",NULL}`, `[2:3]={{1},{2}}`.
//!
//! The source is "Array Input and Output Syntax" in the PostgreSQL manual (§8.15.6).
//! A lower bound has no form in JSON and is left out.

use std::borrow::Cow;

use super::{ValueError, utf8, write_string, write_value};

/// `MAXDIM` of the server: a deeper literal is not one.
const MAX_DIMENSIONS: usize = 6;

/// Writes an array literal as a JSON array, or, should it not be one, as a string.
pub(super) fn write(out: &mut Vec<u8>, element_oid: u32, literal: &[u8]) -> Result<(), ValueError> {
    let before = out.len();
    match write_array(out, element_oid, literal) {
        Ok(()) => Ok(()),
        Err(Failure::Value(error)) => Err(error),
        Err(Failure::NotAnArray) => {
            out.truncate(before);
            write_string(out, utf8(literal)?);
            Ok(())
        }
    }
}

enum Failure {
    NotAnArray,
    /// An element is at fault, not the literal.
    Value(ValueError),
}

/// What may come next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// Behind `{`: an element, a nested array or the end of an empty one.
    First,
    /// Behind `,`: an element or a nested array.
    Next,
    /// Behind either: `,` or `}`.
    Separator,
}

fn write_array(out: &mut Vec<u8>, element_oid: u32, literal: &[u8]) -> Result<(), Failure> {
    let mut rest = behind_bounds(literal)
        .and_then(|rest| rest.strip_prefix(b"{"))
        .ok_or(Failure::NotAnArray)?;
    out.push(b'[');
    let mut depth = 1;
    let mut expect = Expect::First;
    while depth > 0 {
        let [byte, behind @ ..] = rest else {
            return Err(Failure::NotAnArray);
        };
        (rest, expect) = match (byte, expect) {
            (b'{', Expect::First | Expect::Next) if depth < MAX_DIMENSIONS => {
                depth += 1;
                out.push(b'[');
                (behind, Expect::First)
            }
            (b'}', Expect::First | Expect::Separator) => {
                depth -= 1;
                out.push(b']');
                (behind, Expect::Separator)
            }
            (b',', Expect::Separator) => {
                out.push(b',');
                (behind, Expect::Next)
            }
            (b'"', Expect::First | Expect::Next) => {
                let (element, behind) = quoted(behind).ok_or(Failure::NotAnArray)?;
                write_value(out, element_oid, &element).map_err(Failure::Value)?;
                (behind, Expect::Separator)
            }
            (b'{' | b'}' | b',', _) | (_, Expect::Separator) => return Err(Failure::NotAnArray),
            (_, Expect::First | Expect::Next) => {
                let (element, behind) = unquoted(rest).ok_or(Failure::NotAnArray)?;
                if element == b"NULL" {
                    out.extend_from_slice(b"null");
                } else {
                    write_value(out, element_oid, element).map_err(Failure::Value)?;
                }
                (behind, Expect::Separator)
            }
        };
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(Failure::NotAnArray)
    }
}

/// Cuts `[1:2][0:3]=` off, which stands there if a lower bound is not 1.
fn behind_bounds(literal: &[u8]) -> Option<&[u8]> {
    if !literal.starts_with(b"[") {
        return Some(literal);
    }
    let end = literal.iter().position(|byte| *byte == b'=')?;
    let (bounds, rest) = literal.split_at(end);
    let well_formed = bounds
        .iter()
        .all(|byte| matches!(byte, b'[' | b']' | b':' | b'-' | b'0'..=b'9'));
    well_formed.then(|| &rest[1..])
}

/// The element after a quote, unescaped, and what follows the closing quote.
fn quoted(text: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let end = text.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    if text[end] == b'"' {
        return Some((Cow::Borrowed(&text[..end]), &text[end + 1..]));
    }
    let mut element = text[..end].to_vec();
    let mut rest = &text[end..];
    loop {
        match rest {
            [b'"', behind @ ..] => return Some((Cow::Owned(element), behind)),
            [b'\\', escaped, behind @ ..] => {
                element.push(*escaped);
                rest = behind;
            }
            [b'\\'] | [] => return None,
            [plain, behind @ ..] => {
                element.push(*plain);
                rest = behind;
            }
        }
    }
}

/// An element without quotes, which the server writes only where it holds no brace,
/// comma, quote, backslash or white space, and what follows it.
fn unquoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|byte| matches!(byte, b',' | b'}'))?;
    let (element, rest) = text.split_at(end);
    let plain = !element
        .iter()
        .any(|byte| matches!(byte, b'"' | b'\\' | b'{'));
    plain.then_some((element, rest))
}
