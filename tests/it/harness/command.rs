//! The real binary, run to its end.

use std::path::PathBuf;
use std::process::Output;

use tokio::process::Command;

use super::{PATIENCE, TestDatabase};

/// A directory with a `walhook.toml`, in which commands are run.
pub struct Project {
    pub directory: tempfile::TempDir,
}

/// What a command answered.
pub struct Answer {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Project {
    pub fn new(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let project = Project { directory };
        project.write(config);
        project
    }

    /// For this database, under the superuser.
    pub fn of(database: &TestDatabase, rules: &str) -> Self {
        Project::new(&Project::config(database, &database.url, rules))
    }

    pub fn config(database: &TestDatabase, url: &str, rules: &str) -> String {
        format!(
            "[source]\nurl = '{url}'\nslot = '{}'\n[api]\nlisten = '127.0.0.1:0'\n{rules}",
            database.slot()
        )
    }

    pub fn file(&self) -> PathBuf {
        self.directory.path().join("walhook.toml")
    }

    pub fn write(&self, config: &str) {
        std::fs::write(self.file(), config).unwrap();
    }

    pub async fn walhook(&self, arguments: &[&str]) -> Answer {
        let mut command = walhook();
        command.current_dir(self.directory.path()).args(arguments);
        let ended = tokio::time::timeout(PATIENCE, command.output()).await;
        answer(ended.expect("the command goes on").unwrap())
    }
}

/// The binary, with nothing of the environment that it would take as configuration.
pub fn walhook() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_walhook"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("WALHOOK_") || name.starts_with("PG") || name == "RUST_LOG" {
            command.env_remove(&*name);
        }
    }
    command
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    command
}

pub fn answer(output: Output) -> Answer {
    Answer {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Answer {
    /// Asserts the exit code, and shows what was said where it is another.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\n{}\n{}", self.out, self.err);
        self
    }

    /// Asserts that either output says this.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(
            self.out.contains(text) || self.err.contains(text),
            "does not say `{text}`:\n{}\n{}",
            self.out,
            self.err
        );
        self
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap()
    }
}
