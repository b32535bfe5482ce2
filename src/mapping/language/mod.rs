//! The language of rules and filters: a strict subset of PostgreSQL's expressions.
//!
//! In: an expression's source, and what the catalog says of the names in it. Out: a program
//! that gives for a row what the server would give for it, or an error where the server errs.
//!
//! `token` and `parse` read the source into `syntax`.

pub mod array;
pub mod check;
pub mod error;
pub mod evaluate;
pub mod json;
pub mod letters;
pub mod number;
pub mod parse;
pub mod program;
pub mod syntax;
pub mod time;
mod token;
pub mod types;
pub mod value;
pub(in crate::mapping) mod words;

#[cfg(test)]
mod tests;
