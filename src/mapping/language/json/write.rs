//! jsonb's normal form.

use super::{Json, JsonError, number};

/// The text that the server prints for a literal of jsonb: members by the length and bytes
/// of their keys, one of each key, numbers without exponent, no needless escapes or blanks.
pub fn to_jsonb_text(literal: &str) -> Result<String, JsonError> {
    let mut text = String::with_capacity(literal.len());
    push_value(&Json::parse_jsonb(literal)?, &mut text);
    Ok(text)
}

fn push_value(value: &Json<'_>, out: &mut String) {
    match value {
        Json::Null => out.push_str("null"),
        Json::Bool(true) => out.push_str("true"),
        Json::Bool(false) => out.push_str("false"),
        Json::Number(text) => number::push_numeric(text, out),
        Json::String(text) => push_string(text, out),
        Json::Array(elements) => {
            out.push('[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                push_value(element, out);
            }
            out.push(']');
        }
        Json::Object(members) => {
            out.push('{');
            for (index, (key, member)) in members.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                push_string(key, out);
                out.push_str(": ");
                push_value(member, out);
            }
            out.push('}');
        }
    }
}

fn push_string(text: &str, out: &mut String) {
    out.push('"');
    let mut written = 0;
    for (place, byte) in text.bytes().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(text.get(written..place).unwrap_or_default());
        written = place + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            0x08 => out.push_str("\\b"),
            0x0c => out.push_str("\\f"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            control => {
                out.push_str("\\u00");
                for digit in [control >> 4, control & 0xf] {
                    out.extend(char::from_digit(u32::from(digit), 16));
                }
            }
        }
    }
    out.push_str(text.get(written..).unwrap_or_default());
    out.push('"');
}
