//! The source's server: the settings that replication depends on, and what a role may do there.

use anyhow::Context;

use crate::conninfo::{Client, column};

/// The server's settings that replication depends on.
#[derive(Clone, Debug)]
pub struct Server {
    /// `server_version_num`: 150018 is 15.18.
    pub version_number: i32,
    pub version: String,
    pub encoding: String,
    pub database: String,
    pub in_recovery: bool,
    pub wal_level: String,
    pub max_slots: i32,
    pub slots: i32,
    pub max_senders: i32,
    pub senders: i32,
    /// `max_slot_wal_keep_size` in MB; -1: no limit.
    pub keep_size_mb: i64,
    /// 0: never.
    /// `idle_replication_slot_timeout`, from 18 on; 0: never.
    pub idle_slot_timeout: Option<i64>,
    pub synchronous_standbys: bool,
}

/// The role that reads the WAL.
#[derive(Clone, Debug)]
pub struct Role {
    pub name: String,
    pub superuser: bool,
    pub replication: bool,
    /// A member of Amazon's `rds_replication`.
    pub rds_replication: bool,
    /// The server has that role.
    pub on_rds: bool,
    /// CREATE on the database, which a publication's creator needs.
    pub may_create: bool,
}

impl Server {
    pub async fn read(client: &Client) -> anyhow::Result<Self> {
        let row = client
            .query_one(include_str!("../../sql/queries/source/server.sql"), &[])
            .await
            .context("read the source's settings")?;
        Ok(Server {
            version_number: column(&row, "version_number")?,
            version: column(&row, "version")?,
            encoding: column(&row, "encoding")?,
            database: column(&row, "database")?,
            in_recovery: column(&row, "in_recovery")?,
            wal_level: column(&row, "wal_level")?,
            max_slots: column(&row, "max_slots")?,
            slots: column(&row, "slots")?,
            max_senders: column(&row, "max_senders")?,
            senders: column(&row, "senders")?,
            keep_size_mb: column(&row, "keep_size_mb")?,
            idle_slot_timeout: column(&row, "idle_slot_timeout")?,
            synchronous_standbys: column(&row, "synchronous_standbys")?,
        })
    }
}

impl Role {
    pub async fn read(client: &Client) -> anyhow::Result<Self> {
        let row = client
            .query_one(include_str!("../../sql/queries/source/role.sql"), &[])
            .await
            .context("read the rights of the source's role")?;
        Ok(Role {
            name: column(&row, "name")?,
            superuser: column(&row, "superuser")?,
            replication: column(&row, "replication")?,
            rds_replication: column(&row, "rds_replication")?,
            on_rds: column(&row, "on_rds")?,
            may_create: column(&row, "may_create")?,
        })
    }

    pub fn may_replicate(&self) -> bool {
        self.superuser || self.replication || self.rds_replication
    }
}
