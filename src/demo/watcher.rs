//! Takes the server away where this process ends without doing so, as by `kill -9`.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::postgres::Postgres;

/// A shell that waits for the end of this process, which closes its standard input.
pub(super) struct Watcher(Child);

impl Watcher {
    /// `files`: of the demo, which are removed with the server's.
    pub(super) fn start(server: &Postgres, files: &Path) -> io::Result<Self> {
        // 1: the postmaster, which an immediate stop has end all its processes; 2 and 3: files.
        let script = r#"read -r _; kill -QUIT "$1"; sleep 1; rm -rf "$2" "$3""#;
        let watcher = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(server.pid()?.to_string())
            .arg(server.socket_directory())
            .arg(files)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C in the terminal is ours: we stop the server in order.
            .process_group(0)
            .spawn()?;
        Ok(Watcher(watcher))
    }
}

impl Drop for Watcher {
    /// Before the server is stopped in order: its process id may be another's afterwards.
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait().map(drop)) {
            tracing::debug!(%error, "the shell that watches over the server has ended");
        }
    }
}
