//! Backfills: rows that exist already, made into events while the stream goes on.
//!
//! A command records a [`job`] in the store. The instance that holds the slot runs it:
//! it [reads](reader) the [table]'s rows in the order of a key, chunk by chunk between
//! two watermarks in the WAL, and the enqueuer takes each chunk at its place there.

pub mod job;
pub mod key;
pub mod reader;
pub mod source;
pub mod table;
