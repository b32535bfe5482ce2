//! Values in PostgreSQL's text format, written as JSON. Pure, and lossless: a
//! value that JSON has no form for (`NaN`, `infinity`, 4713 BC) becomes a string of
//! exactly what the server wrote.
//!
//! The text is that of a session with datestyle ISO, TimeZone UTC, bytea_output hex
//! and client_encoding UTF8, which replication pins.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::IgnoredAny;

mod array;
mod types;

#[cfg(test)]
mod tests;

pub use types::{built_in_name, built_in_oid};

/// A value that has no faithful form in JSON. Never carries the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Of a SQL_ASCII database, which converts nothing and checks nothing.
    #[error(
        "the text is not UTF-8 from byte {valid_up_to} on; JSON cannot carry it: leave the column out of the rule's data or fix the row"
    )]
    NotUtf8 { valid_up_to: usize },
    /// A string of it could be mistaken for base64.
    #[error("a bytea is not in hex format; set bytea_output to hex for walhook's role")]
    NotHexBytea,
}

/// Appends the value `text`, of the built-in type `type_oid`, as JSON. On an error
/// `out` is as it was.
///
/// Numbers keep every digit. A type that is not known here (an enum, a range, a
/// geometric type …) becomes a string, as does an array of such.
pub fn write_json(out: &mut Vec<u8>, type_oid: u32, text: &[u8]) -> Result<(), ValueError> {
    let before = out.len();
    let written = write_value(out, type_oid, text);
    if written.is_err() {
        out.truncate(before);
    }
    written
}

/// Appends `text` as a JSON string.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    const HEX: [u8; 16] = *b"0123456789abcdef";
    let mut rest = text.as_bytes();
    out.push(b'"');
    loop {
        let (plain, escaped) = rest.split_at(plain_length(rest));
        out.extend_from_slice(plain);
        let [byte, behind @ ..] = escaped else {
            break;
        };
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            // Below 0x20: two hex digits are enough.
            control => {
                let digit = |nibble: u8| HEX[usize::from(nibble & 0xF)];
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[digit(control >> 4), digit(*control)]);
            }
        }
        rest = behind;
    }
    out.push(b'"');
}

/// How many bytes stand in a JSON string as they are before the first that does
/// not. Looks at 16 at once without branches, which the compiler turns into SIMD.
fn plain_length(bytes: &[u8]) -> usize {
    let escaped = |byte: u8| (byte < b' ') | (byte == b'"') | (byte == b'\\');
    let (chunks, _) = bytes.as_chunks::<16>();
    let plain_chunks = chunks
        .iter()
        .take_while(|chunk| !chunk.iter().fold(false, |any, byte| any | escaped(*byte)))
        .count();
    let behind = plain_chunks * 16;
    bytes[behind..]
        .iter()
        .position(|byte| escaped(*byte))
        .map_or(bytes.len(), |at| behind + at)
}

fn write_value(out: &mut Vec<u8>, type_oid: u32, text: &[u8]) -> Result<(), ValueError> {
    match type_oid {
        types::INT2
        | types::INT4
        | types::INT8
        | types::OID
        | types::NUMERIC
        | types::FLOAT4
        | types::FLOAT8
            if is_json_number(text) =>
        {
            out.extend_from_slice(text);
        }
        types::BOOL if text == b"t" => out.extend_from_slice(b"true"),
        types::BOOL if text == b"f" => out.extend_from_slice(b"false"),
        // The commonest types; the last arm would find the same, but by a search.
        types::TEXT | types::VARCHAR | types::BPCHAR | types::UUID | types::DATE => {
            write_string(out, utf8(text)?);
        }
        types::TIMESTAMP if is_timestamp(text, b"") => write_timestamp(out, text, ""),
        types::TIMESTAMPTZ if is_timestamp(text, b"+00") => {
            write_timestamp(out, &text[..text.len() - "+00".len()], "Z");
        }
        types::BYTEA => return write_bytea(out, text),
        types::JSON | types::JSONB => {
            let text = utf8(text)?;
            if is_portable_json(text) {
                out.extend_from_slice(text.as_bytes());
            } else {
                write_string(out, text);
            }
        }
        _ => match types::element_of(type_oid) {
            Some(element_oid) => array::write(out, element_oid, text)?,
            None => write_string(out, utf8(text)?),
        },
    }
    Ok(())
}

fn utf8(text: &[u8]) -> Result<&str, ValueError> {
    std::str::from_utf8(text).map_err(|error| ValueError::NotUtf8 {
        valid_up_to: error.valid_up_to(),
    })
}

/// RFC 8259 §6. Not so: `NaN`, `Infinity`, an empty text.
fn is_json_number(text: &[u8]) -> bool {
    /// Cuts the digits off; `None` where there are none.
    fn digits(text: &[u8]) -> Option<&[u8]> {
        let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (count > 0).then(|| &text[count..])
    }
    let number = || {
        let text = text.strip_prefix(b"-").unwrap_or(text);
        let mut rest = match text {
            [b'0', rest @ ..] => rest,
            _ => digits(text)?,
        };
        if let [b'.', fraction @ ..] = rest {
            rest = digits(fraction)?;
        }
        if let [b'e' | b'E', exponent @ ..] = rest {
            let unsigned = match exponent {
                [b'+' | b'-', unsigned @ ..] => unsigned,
                unsigned => unsigned,
            };
            rest = digits(unsigned)?;
        }
        Some(rest.is_empty())
    };
    number().unwrap_or(false)
}

/// `YYYY-MM-DD HH:MM:SS`, perhaps a fraction, then `suffix`. Not so: infinities,
/// years of five digits, years before Christ, another zone.
fn is_timestamp(text: &[u8], suffix: &[u8]) -> bool {
    const SHAPE: &[u8] = b"dddd-dd-dd dd:dd:dd";
    let Some((seconds, fraction)) = text
        .strip_suffix(suffix)
        .and_then(|text| text.split_at_checked(SHAPE.len()))
    else {
        return false;
    };
    let fits = |(byte, shape): (&u8, &u8)| match shape {
        b'd' => byte.is_ascii_digit(),
        _ => byte == shape,
    };
    let fraction_fits = match fraction {
        [] => true,
        [b'.', digits @ ..] => !digits.is_empty() && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    seconds.iter().zip(SHAPE).all(fits) && fraction_fits
}

/// ISO 8601 as RFC 3339 profiles it, of a text that [`is_timestamp`] has checked.
fn write_timestamp(out: &mut Vec<u8>, text: &[u8], zone: &str) {
    const DATE: usize = "YYYY-MM-DD".len();
    out.push(b'"');
    out.extend_from_slice(&text[..DATE]);
    out.push(b'T');
    out.extend_from_slice(&text[DATE + 1..]);
    out.extend_from_slice(zone.as_bytes());
    out.push(b'"');
}

fn write_bytea(out: &mut Vec<u8>, text: &[u8]) -> Result<(), ValueError> {
    fn nibble(digit: u8) -> Option<u8> {
        char::from(digit).to_digit(16)?.try_into().ok()
    }
    let digits = text.strip_prefix(b"\\x").ok_or(ValueError::NotHexBytea)?;
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(ValueError::NotHexBytea);
    }
    let bytes: Vec<u8> = pairs
        .iter()
        .map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?))
        .collect::<Option<_>>()
        .ok_or(ValueError::NotHexBytea)?;
    out.push(b'"');
    out.extend_from_slice(BASE64.encode(bytes).as_bytes());
    out.push(b'"');
    Ok(())
}

/// Valid JSON that every reader of the event accepts. PostgreSQL's `json` (not
/// `jsonb`) checks syntax only and lets half of a surrogate pair (`\ud800`) pass,
/// at which many parsers refuse the whole document.
fn is_portable_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok() && !has_lone_surrogate(text)
}

/// Of valid JSON: there a backslash stands in strings only, and `\u` before four
/// hex digits.
fn has_lone_surrogate(json: &str) -> bool {
    let mut rest = json.as_bytes();
    let mut high_before = false;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        if high_before && at > 0 {
            return true;
        }
        let unit = rest
            .get(at + 2..at + 6)
            .filter(|_| rest[at + 1] == b'u')
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u16::from_str_radix(hex, 16).ok());
        let is_high = matches!(unit, Some(0xD800..=0xDBFF));
        let is_low = matches!(unit, Some(0xDC00..=0xDFFF));
        if high_before != is_low {
            return true;
        }
        high_before = is_high;
        rest = rest
            .get(at + if unit.is_some() { 6 } else { 2 }..)
            .unwrap_or_default();
    }
    high_before
}
