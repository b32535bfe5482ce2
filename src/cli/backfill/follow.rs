//! Shows how far a backfill is, until it is over.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use super::list::{counts, number};
use super::{Outcome, find};
use crate::backfill::job::{Job, Jobs, Status};
use crate::cli::signals::Signals;
use crate::event::BackfillId;
use crate::terminal::{tell, visible};

/// How often the store is asked.
const POLL: Duration = Duration::from_millis(250);

/// How often a line is written where there is no terminal.
const LINES: Duration = Duration::from_secs(5);

/// How long the rate is averaged over.
const AVERAGED: Duration = Duration::from_secs(10);

const NO_LEADER: &str = "no instance holds the slot: it begins once `walhook run` does. Waiting …";

pub(super) async fn say_without_leader(jobs: &Jobs<'_>) -> anyhow::Result<()> {
    if !jobs.has_leader().await? {
        tell("no instance holds the slot: it begins once `walhook run` does");
    }
    Ok(())
}

/// Until it is over; a signal pauses it.
pub(super) async fn follow(
    jobs: &Jobs<'_>,
    id: BackfillId,
    signals: &mut Signals,
) -> anyhow::Result<Outcome> {
    let mut screen = Screen::new();
    screen.line(&format!("backfill {id}; Ctrl-C pauses it"));
    let mut idle: Option<(i64, Instant)> = None;
    loop {
        let job = find(jobs, id).await?;
        match job.status {
            Status::Running => screen.show(&job),
            Status::Done => {
                screen.end();
                crate::cli::print(format_args!("{id} is done: {}", counts(&job)))?;
                return Ok(Outcome::Holds);
            }
            Status::Failed => {
                screen.end();
                tell(format_args!(
                    "{id} has failed: {}. Once that is fixed: walhook backfill --resume {id}",
                    job.error.as_deref().unwrap_or_default()
                ));
                return Ok(Outcome::DoesNotHold);
            }
            Status::Paused => return Ok(paused(&mut screen, &job)),
            Status::Cancelled => {
                screen.end();
                crate::cli::print(format_args!("{id} was cancelled: {}", counts(&job)))?;
                return Ok(Outcome::DoesNotHold);
            }
        }
        // Where nothing moves, it is worth a look whether anybody works at it.
        match idle {
            Some((rows, since)) if rows == job.rows_read => {
                if since.elapsed() >= Duration::from_secs(2) && !jobs.has_leader().await? {
                    screen.once(NO_LEADER);
                }
            }
            _ => idle = Some((job.rows_read, Instant::now())),
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = signals.recv() => {
                jobs.pause(id).await?;
            }
        }
    }
}

fn paused(screen: &mut Screen, job: &Job) -> Outcome {
    screen.end();
    let id = job.id;
    tell(format_args!(
        "{id} is paused: {}. To go on: walhook backfill --resume {id}",
        counts(job)
    ));
    Outcome::DoesNotHold
}

/// A bar on a terminal, else a line now and then.
struct Screen {
    terminal: bool,
    shown_at: Option<Instant>,
    said: Option<&'static str>,
    /// Rows read and when, over the time that the rate is averaged over.
    seen: std::collections::VecDeque<(Instant, i64)>,
}

impl Screen {
    fn new() -> Self {
        Screen {
            terminal: io::stderr().is_terminal(),
            shown_at: None,
            said: None,
            seen: std::collections::VecDeque::new(),
        }
    }

    fn show(&mut self, job: &Job) {
        let now = Instant::now();
        self.seen.push_back((now, job.rows_read));
        while self
            .seen
            .front()
            .is_some_and(|(at, _)| now - *at > AVERAGED)
            && self.seen.len() > 2
        {
            self.seen.pop_front();
        }
        let text = progress(job, self.rate());
        if self.terminal {
            let bar = bar(job.rows_read, job.order.estimate);
            let mut out = io::stderr().lock();
            // A terminal that is gone is no reason to end.
            let _ = write!(out, "\r{bar} {}\x1b[K", visible(&text)).and_then(|()| out.flush());
            self.shown_at = Some(now);
        } else if self.shown_at.is_none_or(|at| now - at >= LINES) {
            tell(text);
            self.shown_at = Some(now);
        }
    }

    fn rate(&self) -> f64 {
        match (self.seen.front(), self.seen.back()) {
            (Some((from, first)), Some((to, last))) if to > from => {
                (last - first).max(0) as f64 / (*to - *from).as_secs_f64()
            }
            _ => 0.0,
        }
    }

    fn line(&mut self, text: &str) {
        self.end();
        tell(text);
    }

    fn once(&mut self, text: &'static str) {
        if self.said != Some(text) {
            self.said = Some(text);
            self.line(text);
        }
    }

    /// Leaves the bar's line.
    fn end(&mut self) {
        if self.terminal && self.shown_at.take().is_some() {
            tell("");
        }
    }
}

fn bar(rows: i64, estimate: i64) -> String {
    const WIDTH: usize = 24;
    let share = rows as f64 / estimate.max(rows).max(1) as f64;
    let filled = ((share * WIDTH as f64) as usize).min(WIDTH);
    format!("[{}{}]", "#".repeat(filled), ".".repeat(WIDTH - filled))
}

fn progress(job: &Job, rate: f64) -> String {
    let mut text = format!(
        "{} of about {} rows, {} events",
        number(job.rows_read),
        number(job.order.estimate.max(job.rows_read)),
        number(job.events)
    );
    let left = job.order.estimate - job.rows_read;
    if rate > 0.0 {
        text.push_str(&format!(", {}/s", number(rate as i64)));
        if left > 0 {
            text.push_str(&format!(", {} left", duration(left as f64 / rate)));
        }
    }
    if let Some(waiting) = &job.waiting {
        text.push_str(&format!("; waits: {waiting}"));
    }
    text
}

fn duration(seconds: f64) -> String {
    let seconds = seconds.ceil() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_never_runs_over() {
        assert_eq!(bar(0, 0), format!("[{}]", ".".repeat(24)));
        assert_eq!(
            bar(5, 10),
            format!("[{}{}]", "#".repeat(12), ".".repeat(12))
        );
        assert_eq!(bar(50, 10), format!("[{}]", "#".repeat(24)));
        assert_eq!(duration(59.2), "1 min 00 s");
        assert_eq!(duration(7260.0), "2 h 01 min");
    }
}
