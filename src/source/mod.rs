//! What walhook knows of the application's database, and of what it has made there: tables,
//! publication, slot, gaps, rights. Reads, but for what the name says; nothing here decides
//! what a command or a task does with it.

use anyhow::Context;

use crate::conninfo::{Client, ConnInfo, Purpose};

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

pub async fn connect(conninfo: &ConnInfo, purpose: Purpose) -> anyhow::Result<Client> {
    conninfo
        .connect(purpose, None)
        .await
        .with_context(|| format!("reach the source {} (source.url)", conninfo.describe()))
}

/// The source, or its primary where it is a standby.
pub async fn connect_writable(
    conninfo: &ConnInfo,
    command: &'static str,
) -> anyhow::Result<Client> {
    let primary = conninfo.primary().unwrap_or(conninfo).describe();
    conninfo
        .connect_writable(Purpose::Command(command))
        .await
        .with_context(|| format!("reach the source's primary {primary} (source.primary_url)"))
}
