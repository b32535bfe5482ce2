//! The demo's configuration: the shipped rules, in a directory that goes with it.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::config::Config;
use crate::terminal::tell;

/// The shipped files, so that the binary alone can show them at work.
const RULES: [(&str, &str); 3] = [
    (
        "payments.toml",
        include_str!("../../config/events/payments.toml"),
    ),
    ("leads.toml", include_str!("../../config/events/leads.toml")),
    (
        "sales_orders.toml",
        include_str!("../../config/events/sales_orders.toml"),
    ),
];

/// A directory of the demo's own, for its configuration, key and log. Removed when
/// dropped.
pub(super) struct Directory {
    path: PathBuf,
}

impl Directory {
    pub(super) fn create() -> io::Result<Self> {
        let name = format!("walhook-demo-{}", uuid::Uuid::now_v7().simple());
        let path = std::env::temp_dir().join(name);
        // The key lies in it: nobody else may look.
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Directory { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn log(&self) -> PathBuf {
        self.path.join("walhook.log")
    }

    /// Writes the files that a user would have, and reads them as `walhook run` does,
    /// except that the environment does not count: a WALHOOK_SOURCE__URL of the user
    /// must not make the demo write to that database.
    pub(super) fn configure(&self, database: &str, api: SocketAddr) -> anyhow::Result<Config> {
        let events = self.path.join("events");
        fs::create_dir(&events)?;
        for (name, text) in RULES {
            fs::write(events.join(name), text)?;
        }
        let file = self.path.join("walhook.toml");
        fs::write(&file, main_file(database, api))?;
        Config::load_with(Some(&file), std::iter::empty()).context("read the demo's configuration")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tell(format_args!(
                "cannot remove {}: {error}",
                self.path.display()
            ));
        }
    }
}

fn main_file(database: &str, api: SocketAddr) -> String {
    let includes = RULES
        .map(|(name, _)| format!("\"events/{name}\""))
        .join(", ");
    format!(
        r#"include = [{includes}]

[source]
url = "{database}"

[delivery]
# Short, so that a retry shows within the demo.
retry_schedule = ["1s", "2s", "4s", "8s", "15s"]

[security]
# The receiver is on this machine, without TLS.
allow_http = true
allow_networks = ["127.0.0.0/8"]

[api]
listen = "{api}"
"#
    )
}
