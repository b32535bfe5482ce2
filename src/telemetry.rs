//! Logs: to standard error, as text for people or as JSON for machines.

use std::fs::File;

use std::io::IsTerminal;
use std::sync::Arc;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use crate::terminal::Log;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Below these levels the libraries log statements' parameters, requests' headers and
/// bodies: rows and secrets, whatever `RUST_LOG` asks for.
const QUIET: [&str; 3] = ["tokio_postgres=info", "hyper=info", "h2=info"];

/// Installs the log for the whole process. `RUST_LOG` chooses what is shown, as in
/// `RUST_LOG=walhook=debug`; without it, walhook's own messages from `info` up.
pub fn install(format: LogFormat) {
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter())
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(|| Log(std::io::stderr()));
    let installed = match format {
        LogFormat::Text => log.with_target(false).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    // A second install in one process, as a test makes it, keeps the first.
    drop(installed);
}

/// As [`install`], as text to a file: where standard error belongs to something else.
pub fn install_into(file: File) {
    let file = Arc::new(file);
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter())
        .with_target(false)
        .with_ansi(false)
        .with_writer(move || Log(Arc::clone(&file)));
    drop(log.try_init());
}

fn filter() -> EnvFilter {
    let asked =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,walhook=info"));
    QUIET.iter().fold(asked, |filter, directive| {
        filter.add_directive(directive.parse().expect("a directive of ours is valid"))
    })
}
