//! Text of others (rows, names, tenants) as a terminal may show it: what would move its
//! cursor, change its colours or turn the direction of writing is written as an escape.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

/// On one line: also line ends are written as escapes, so that no text can pass for a line
/// of ours.
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden)
}

/// Of several lines. The escapes are JSON's, so that a JSON text stays one.
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

/// A log on its way to a terminal or a file. Escape sequences of fields are escaped by the
/// log itself, whose own colours are left as they are; the rest is here.
pub struct Log<W>(pub W);

impl<W: io::Write> io::Write for Log<W> {
    /// One event, which the log writes as a whole.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let hidden = |c| matches!(c, '\u{80}'..='\u{9f}') || is_invisible_format(c);
        match std::str::from_utf8(event) {
            Ok(text) => self.0.write_all(escaped(text, hidden).as_bytes())?,
            Err(_) => self.0.write_all(event)?,
        }
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
}
