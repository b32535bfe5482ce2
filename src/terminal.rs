//! Text of others (rows, names, tenants, what servers answer) as a terminal may show it: what
//! would end a line of ours, move the cursor, change colours or turn the direction of writing is
//! written as an escape.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};

/// Lines of ours. Whatever a line holds of others it stays one line, that steers no terminal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines(Vec<String>);

impl Lines {
    pub fn line(&mut self, text: impl fmt::Display) {
        self.0.push(visible(&text.to_string()).into_owned());
    }

    pub fn append(&mut self, mut other: Lines) {
        self.0.append(&mut other.0);
    }
}

/// Without an end of the last line.
impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// As an error that has several things to say.
impl std::error::Error for Lines {}

/// An error and its causes on one line. A cause that the text before it already
/// tells is left out.
pub fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// Writes a line to standard error.
pub fn tell(text: impl fmt::Display) {
    let mut lines = Lines::default();
    lines.line(text);
    tell_lines(&lines);
}

/// Writes lines to standard error. What cannot be written there can be told nowhere.
pub fn tell_lines(lines: &Lines) {
    let _ = writeln!(io::stderr(), "{lines}");
}

/// On one line: also line ends are written as escapes, so that no text can pass for a line
/// of ours.
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden)
}

/// JSON on several lines, or SQL of ours. The escapes are JSON's, so that a JSON text stays one.
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && c != '\t' && is_hidden(c))
}

/// Controls (C0, DEL, C1), the separators of lines and paragraphs, and what turns the
/// direction of the text.
fn is_hidden(c: char) -> bool {
    c.is_control() || is_invisible_format(c)
}

fn is_invisible_format(c: char) -> bool {
    matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

fn escaped(text: &str, hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' if hidden(c) => shown.push_str("\\n"),
            '\r' if hidden(c) => shown.push_str("\\r"),
            '\t' if hidden(c) => shown.push_str("\\t"),
            c if hidden(c) => {
                let _ = write!(shown, "\\u{:04x}", u32::from(c));
            }
            c => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// A log on its way to a terminal or a file: one line for each event. Escape sequences of
/// fields are escaped by the log itself, whose own colours are left as they are; the rest is
/// here.
pub struct Log<W>(pub W);

impl<W: io::Write> io::Write for Log<W> {
    /// One event, which the log writes as a whole.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let (text, end) = match text.strip_suffix('\n') {
            Some(text) => (text, "\n"),
            None => (&*text, ""),
        };
        let shown = escaped(text, |c| c != '\u{1b}' && is_hidden(c));
        self.0.write_all(format!("{shown}{end}").as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_as_an_escape() {
        for (text, shown) in [
            ("Größe 大 😀", "Größe 大 😀"),
            ("\u{1b}[2Jx", "\\u001b[2Jx"),
            ("\u{9b}2J\u{7f}", "\\u009b2J\\u007f"),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            (
                "\u{202e}x\u{2066}y\u{61c}\u{200f}",
                "\\u202ex\\u2066y\\u061c\\u200f",
            ),
        ] {
            assert_eq!(visible(text), shown);
        }
        assert_eq!(visible_lines("a\n\tb\u{1b}"), "a\n\tb\\u001b");
        let json = serde_json::to_string("\u{202e}\n").unwrap();
        let text: String = serde_json::from_str(&visible_lines(&json)).unwrap();
        assert_eq!(text, "\u{202e}\n");
    }

    #[test]
    fn a_log_keeps_its_colours_and_shows_what_turns_the_text() {
        let mut out = Vec::new();
        io::Write::write_all(&mut Log(&mut out), "\u{1b}[2mx\u{202e}\n".as_bytes()).unwrap();
        assert_eq!(out, b"\x1b[2mx\\u202e\n");
    }

    #[test]
    fn an_event_of_the_log_is_one_line() {
        let mut out = Vec::new();
        let event = b"INFO relation=a\r\n2026-11-30 INFO forged \xff\n";
        io::Write::write_all(&mut Log(&mut out), event).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "INFO relation=a\\r\\n2026-11-30 INFO forged \u{fffd}\n"
        );
    }

    #[test]
    fn a_line_stays_one_whatever_it_holds() {
        let mut lines = Lines::default();
        lines.line(format_args!("table {}", "a\nAll is well.\u{1b}[2J"));
        lines.line("");
        let mut others = Lines::default();
        others.line("the end");
        lines.append(others);
        assert_eq!(
            lines.to_string(),
            "table a\\nAll is well.\\u001b[2J\n\nthe end"
        );
    }

    #[test]
    fn a_cause_is_told_once() {
        let cause = anyhow::anyhow!("connection refused");
        let error = cause
            .context("reach db: connection refused")
            .context("start");
        assert_eq!(chain(&error), "start: reach db: connection refused");
    }
}
