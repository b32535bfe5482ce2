//! What walhook knows of the application's database, and of what it has made there: tables,
//! publication, slot, gaps, rights. Reads, but for what the name says; nothing here decides
//! what a command or a task does with it.

pub mod catalog;
pub mod gaps;
pub mod harm;
pub mod progress;
pub mod publication;
pub mod published;
pub mod rights;
pub mod server;
pub mod standby;
pub mod standby_copies;
