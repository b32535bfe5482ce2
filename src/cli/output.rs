//! What commands write to standard output, and how they tell of errors.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Context;

use crate::config::ConfigError;
use crate::terminal::{Lines, chain, visible_lines};

/// An error and its causes as people are told of it: each thing that is wrong on a line.
pub(super) fn shown(error: &anyhow::Error) -> Lines {
    let text = format!("walhook: {}", chain(error));
    let mut lines = Lines::default();
    let is_several = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<ConfigError>() || cause.is::<Lines>()
    };
    match error.chain().any(is_several) {
        true => text.split('\n').for_each(|line| lines.line(line)),
        false => lines.line(text),
    }
    lines
}

/// Writes a line to standard output.
pub(super) fn print(text: impl fmt::Display) -> anyhow::Result<()> {
    let mut lines = Lines::default();
    lines.line(text);
    print_lines(&lines)
}

pub(super) fn print_lines(lines: &Lines) -> anyhow::Result<()> {
    print_exactly(&format!("{lines}\n"))
}

/// What is meant for a file or a program has names exactly as they are.
pub(super) fn print_file(text: &str) -> anyhow::Result<()> {
    match io::stdout().is_terminal() {
        true => print_exactly(&visible_lines(text)),
        false => print_exactly(text),
    }
}

/// A reader that has left (`walhook status | head`) is no error.
fn print_exactly(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("write to standard output"),
    }
}

/// Prints a value as indented JSON.
pub(super) fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    print_exactly(&visible_lines(&text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Place, Problem};

    #[test]
    fn an_error_is_one_line_unless_it_says_several_things() {
        let planted = anyhow::anyhow!("function \"x\nAll is well.\" fails").context("read");
        let text = shown(&planted).to_string();
        assert_eq!(text, "walhook: read: function \"x\\nAll is well.\" fails");
        let problem = |message: &str| Problem {
            place: Place::Nowhere,
            key: String::new(),
            message: message.to_owned(),
        };
        let problems = vec![problem("a\nb"), problem("c")];
        let text = shown(&ConfigError { problems }.into()).to_string();
        assert_eq!(text, "walhook: configuration: a\\nb\nconfiguration: c");
        let mut several = Lines::default();
        several.line("nothing was changed, because:");
        several.line("table x\ny");
        let text = shown(&several.into()).to_string();
        assert_eq!(text, "walhook: nothing was changed, because:\ntable x\\ny");
    }
}
