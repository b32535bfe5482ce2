//! The console, over plain HTTP as a browser without script speaks it.

mod bounds;
pub mod browser;
mod command;
mod endpoint;
mod enter;
mod forms;
mod pages;
mod recover;
mod routes;
mod strings;
mod tokens;
