//! The console, over plain HTTP as a browser without script speaks it.

pub mod browser;
mod command;
mod enter;
mod pages;
mod recover;
mod routes;
mod strings;
