//! json and jsonb: the operators of PostgreSQL on the text that the server prints.
//!
//! A look-up scans the text and returns a part of it; only literals and the right side of
//! `@>` become a tree. A jsonb's text must be in the server's normal form (see
//! [`to_jsonb_text`]); a json's text is what its author wrote.

mod access;
mod contain;
mod each;
mod error;
mod number;
mod parse;
mod path;
mod scan;
#[cfg(test)]
mod tests;
mod write;

use std::borrow::Cow;

pub use access::{Kind, Slice, Step};
pub use contain::{contains, equals};
pub use each::{elements, members};
pub use error::JsonError;
pub use number::compare_numbers;
pub use scan::check_escapes;
pub use write::to_jsonb_text;

/// How deep a parsed value's arrays and objects may nest, and how long a path into json may
/// be. A comparison of this depth takes half a MiB of stack in a debug build, a quarter of
/// a thread's. The server takes some 6,000 levels; look-ups in a text have no limit.
pub const MAX_DEPTH: usize = 256;

/// A JSON value as a tree that borrows from its text.
#[derive(Debug, Clone, PartialEq)]
pub enum Json<'a> {
    Null,
    Bool(bool),
    /// The number as written; see [`compare_numbers`].
    Number(&'a str),
    String(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}
