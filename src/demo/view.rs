//! How requests and changes are shown: a line each, coloured on a terminal only.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::receiver::{Received, Verdict};
use crate::terminal::visible;

/// Whether to colour, and how.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    pub coloured: bool,
}

impl Style {
    /// Colours where standard output is a terminal, unless `NO_COLOR` is set
    /// (<https://no-color.org>) or the terminal is dumb.
    pub fn of_stdout() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Style {
            coloured: io::stdout().is_terminal() && !set("NO_COLOR") && !dumb,
        }
    }

    pub fn green<T>(self, text: T) -> Painted<T> {
        self.paint("32", text)
    }

    pub fn red<T>(self, text: T) -> Painted<T> {
        self.paint("31", text)
    }

    pub fn yellow<T>(self, text: T) -> Painted<T> {
        self.paint("33", text)
    }

    pub fn dim<T>(self, text: T) -> Painted<T> {
        self.paint("2", text)
    }

    pub fn bold<T>(self, text: T) -> Painted<T> {
        self.paint("1", text)
    }

    fn paint<T>(self, code: &'static str, text: T) -> Painted<T> {
        Painted {
            code: self.coloured.then_some(code),
            text,
        }
    }
}

/// A text in a colour, or plain. Padding applies to the text inside.
pub struct Painted<T> {
    code: Option<&'static str>,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(code) = self.code else {
            return self.text.fmt(f);
        };
        write!(f, "\x1b[{code}m")?;
        self.text.fmt(f)?;
        f.write_str("\x1b[0m")
    }
}

/// The local time of day in milliseconds.
pub fn time_of_day(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system())
        .strftime("%H:%M:%S%.3f")
        .to_string()
}

/// Text of a stranger, safe for a terminal, at most 80 characters of it. `-` where there is
/// none.
pub fn printable(text: Option<&str>) -> String {
    let Some(text) = text else {
        return "-".to_owned();
    };
    let shown: String = text.chars().take(80).collect();
    let mut shown = visible(&shown).into_owned();
    if text.chars().nth(80).is_some() {
        shown.push('…');
    }
    shown
}

/// `12:00:00.123  payment.received  acme  evt_…  VERIFIED  8 ms  200  attempt 2`
pub fn request_line(style: Style, received: &Received) -> String {
    let verdict = match &received.verdict {
        Verdict::Verified => style.green("VERIFIED".to_owned()),
        Verdict::Refused(error) => style.red(format!("NOT VERIFIED: {error}")),
        Verdict::NotChecked => style.yellow("not checked".to_owned()),
    };
    let latency = received.latency.map_or("-".to_owned(), milliseconds);
    let status = received.status.as_u16();
    let status = match received.status.is_success() {
        true => style.green(status),
        false => style.red(status),
    };
    let attempt = match received.attempt {
        1 => String::new(),
        attempt => format!("  {}", style.yellow(format!("attempt {attempt}"))),
    };
    let events = match received.events {
        None => String::new(),
        Some(1) => "  1 event".to_owned(),
        Some(events) => format!("  {events} events"),
    };
    format!(
        "{}  {:<22} {:<8} {}  {verdict}  {latency:>8}  {status}{events}{attempt}",
        style.dim(time_of_day(received.at)),
        style.bold(printable(received.event_type.as_deref())),
        printable(received.tenant_id.as_deref()),
        style.dim(printable(received.webhook_id.as_deref())),
    )
}

/// With a decimal below 10 ms, where it tells something.
pub fn milliseconds(duration: Duration) -> String {
    let milliseconds = duration.as_secs_f64() * 1e3;
    if milliseconds < 10.0 {
        format!("{milliseconds:.1} ms")
    } else {
        format!("{milliseconds:.0} ms")
    }
}

/// The latencies seen last, for quantiles.
#[derive(Default)]
pub struct Latencies {
    recent: VecDeque<Duration>,
}

impl Latencies {
    /// So many that a quantile is steady, so few that it follows what happens now.
    const KEPT: usize = 1_000;

    pub fn push(&mut self, latency: Duration) {
        if self.recent.len() == Self::KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(latency);
    }

    /// The latency that `percent` of those seen last do not exceed.
    pub fn quantile(&self, percent: usize) -> Option<Duration> {
        let mut sorted: Vec<_> = self.recent.iter().copied().collect();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100);
        sorted.get(rank.saturating_sub(1)).copied()
    }
}

/// Standard output with a status line that stays below what scrolls by. Without a
/// terminal there is no such line.
pub struct Screen {
    out: io::Stdout,
    style: Style,
    status: String,
    /// Lines that stay at the top of a terminal.
    pinned: Vec<String>,
    /// For which size of the terminal they were laid out: columns and rows.
    laid_out: Option<(usize, usize)>,
}

/// Rows that must be left below what is pinned.
const LEAST_ROWS: usize = 8;

impl Screen {
    /// `plain`: as if standard output were no terminal.
    pub fn new(plain: bool) -> Self {
        let style = match plain {
            true => Style { coloured: false },
            false => Style::of_stdout(),
        };
        Screen {
            out: io::stdout(),
            style,
            status: String::new(),
            pinned: Vec::new(),
            laid_out: None,
        }
    }

    /// Shows lines that stay at the top of a terminal while others scroll by below; where
    /// there is none, or too small a one, they are lines like others.
    pub fn pin(&mut self, lines: Vec<String>) -> io::Result<()> {
        self.pinned = lines;
        if self.lay_out()? {
            return Ok(());
        }
        for line in std::mem::take(&mut self.pinned) {
            self.line(&line)?;
        }
        Ok(())
    }

    /// Puts what is pinned to the top, and has the rest scroll below it (DECSTBM). False
    /// where that cannot be.
    fn lay_out(&mut self) -> io::Result<bool> {
        let Some((columns, rows)) = size().filter(|_| self.style.coloured) else {
            return Ok(false);
        };
        if rows < self.pinned.len() + LEAST_ROWS {
            return Ok(false);
        }
        write!(self.out, "\x1b[r\x1b[2J\x1b[H")?;
        for line in &self.pinned {
            writeln!(self.out, "{}\x1b[0m\x1b[K", cut(line, columns))?;
        }
        write!(
            self.out,
            "\x1b[{};{rows}r\x1b[{rows};1H",
            self.pinned.len() + 1
        )?;
        self.laid_out = Some((columns, rows));
        self.out.flush()?;
        Ok(true)
    }

    pub fn style(&self) -> Style {
        self.style
    }

    /// Whether there is a status line.
    pub fn has_status(&self) -> bool {
        self.style.coloured
    }

    /// Fails where standard output was closed, as by `| head`.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        match self.style.coloured {
            true => write!(self.out, "\r\x1b[K{text}\n{}", self.status)?,
            false => writeln!(self.out, "{text}")?,
        }
        self.out.flush()
    }

    /// Replaces the status line.
    pub fn status(&mut self, text: &str) -> io::Result<()> {
        if !self.style.coloured {
            return Ok(());
        }
        let now = size();
        if self.laid_out.is_some() && now.is_some() && now != self.laid_out {
            // The terminal has another size.
            self.lay_out()?;
        }
        // Cut at the terminal's edge: a line that wrapped could not be erased.
        self.status = match now {
            Some((columns, _)) => cut(text, columns),
            None => format!("\x1b[?7l{text}\x1b[?7h"),
        };
        write!(self.out, "\r\x1b[K{}", self.status)?;
        self.out.flush()
    }
}

impl Drop for Screen {
    /// Leaves the terminal as it was: all of it scrolls again.
    fn drop(&mut self) {
        if let Some((_, rows)) = self.laid_out {
            let _closed = writeln!(self.out, "\x1b[r\x1b[{rows};1H");
            let _closed = self.out.flush();
        }
    }
}

/// The terminal's columns and rows.
fn size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    let (columns, rows) = (usize::from(size.ws_col), usize::from(size.ws_row));
    (columns > 0 && rows > 0).then_some((columns, rows))
}

/// As much of a line as has room, colours left out of the count.
fn cut(text: &str, columns: usize) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut count = 0;
    let mut in_escape = false;
    for c in text.chars() {
        match c {
            '\x1b' => in_escape = true,
            'm' if in_escape => {
                in_escape = false;
                shown.push(c);
                continue;
            }
            _ if in_escape => {}
            _ if count == columns => break,
            _ => count += 1,
        }
        shown.push(c);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_text_cannot_steer_the_terminal() {
        assert_eq!(printable(Some("a\x1b[2Jb\n")), "a\\u001b[2Jb\\n");
        assert_eq!(printable(None), "-");
        assert_eq!(printable(Some(&"x".repeat(81))).chars().count(), 81);
    }

    #[test]
    fn quantiles_are_of_what_was_seen_last() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile(50), None);
        for n in 0..2_000 {
            latencies.push(Duration::from_millis(n));
        }
        assert_eq!(latencies.quantile(50), Some(Duration::from_millis(1_499)));
        assert_eq!(latencies.quantile(95), Some(Duration::from_millis(1_949)));
        assert_eq!(latencies.quantile(100), Some(Duration::from_millis(1_999)));
    }

    #[test]
    fn a_line_is_cut_at_the_edge_and_colours_take_no_room() {
        assert_eq!(cut("abcdef", 3), "abc");
        assert_eq!(cut("\x1b[1mab\x1b[0mcd", 3), "\x1b[1mab\x1b[0mc");
        assert_eq!(cut("äöü", 2), "äö");
        assert_eq!(cut("ab", 80), "ab");
    }

    #[test]
    fn colours_wrap_the_padding_too() {
        let style = Style { coloured: true };
        assert_eq!(format!("{:<4}|", style.red("a")), "\x1b[31ma   \x1b[0m|");
        let plain = Style { coloured: false };
        assert_eq!(format!("{:<4}|", plain.red("a")), "a   |");
    }
}
