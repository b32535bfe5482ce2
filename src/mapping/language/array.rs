//! Arrays: the text that the server prints, literals, and the operators on them.
//!
//! The operators read an array's elements one by one and compare them by the caller's
//! equality of the element type. `,` is the delimiter, as for every type but box.

mod error;
mod events;
mod operators;
mod parse;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use error::ArrayError;
pub use events::{Elements, elements};
pub use operators::{any_equal, cardinality, contains, equals, overlaps};
pub use parse::parse;

/// PostgreSQL's limit of dimensions.
pub const MAX_DIMENSIONS: usize = 6;

/// PostgreSQL's limit of elements: what fits an allocation of its.
pub const MAX_ELEMENTS: usize = 134_217_727;

/// An array whose elements borrow from its text where they can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array<'a> {
    /// From the outermost on; none of an empty array.
    pub dimensions: Vec<Dimension>,
    /// The elements of all dimensions in row-major order, as texts of their type.
    pub elements: Vec<Option<Cow<'a, str>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dimension {
    /// The index of the first element, 1 unless the text says otherwise.
    pub lower_bound: i32,
    pub length: usize,
}

impl Array<'_> {
    /// The elements as the operators take them.
    pub fn elements(&self) -> Elements<'_> {
        Elements::of_parsed(&self.elements)
    }

    /// The text that the server prints, where the elements are as their type prints them.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        if self.dimensions.iter().any(|dim| dim.lower_bound != 1) {
            for dim in &self.dimensions {
                let lower = i64::from(dim.lower_bound);
                let upper = lower + dim.length as i64 - 1;
                text.push_str(&format!("[{lower}:{upper}]"));
            }
            text.push('=');
        }
        if self.elements.is_empty() {
            text.push_str("{}");
            return text;
        }
        // How many elements a pair of braces of each dimension holds, from the innermost.
        let mut sizes = Vec::with_capacity(self.dimensions.len());
        let mut size = 1_usize;
        for dim in self.dimensions.iter().rev() {
            size = size.saturating_mul(dim.length.max(1));
            sizes.push(size);
        }
        for (index, element) in self.elements.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            let opened = sizes.iter().filter(|size| index % **size == 0).count();
            text.extend(std::iter::repeat_n('{', opened));
            match element {
                Some(element) => push_element(element, &mut text),
                None => text.push_str("NULL"),
            }
            let closed = sizes.iter().filter(|size| (index + 1) % **size == 0);
            text.extend(std::iter::repeat_n('}', closed.count()));
        }
        text
    }
}

/// Appends an element as array_out does, in quotes where it would be read otherwise.
fn push_element(element: &str, out: &mut String) {
    let special = |byte| matches!(byte, b'"' | b'\\' | b'{' | b'}' | b',') || is_blank(byte);
    if !element.is_empty() && !element.eq_ignore_ascii_case("null") && !element.bytes().any(special)
    {
        out.push_str(element);
        return;
    }
    out.push('"');
    for char in element.chars() {
        if matches!(char, '"' | '\\') {
            out.push('\\');
        }
        out.push(char);
    }
    out.push('"');
}

/// What array_in takes for a blank.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}
