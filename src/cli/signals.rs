//! The signals that end a command in order.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C, SIGTERM, and SIGHUP, which a closed terminal sends. From
/// [`Signals::install`] on they no longer end the process by themselves.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// `None`: it means something else to the command.
    hang_up: Option<Signal>,
}

impl Signals {
    pub fn install() -> io::Result<Self> {
        Ok(Signals {
            hang_up: Some(signal(SignalKind::hangup())?),
            ..Self::without_hang_up()?
        })
    }

    /// But for SIGHUP.
    pub fn without_hang_up() -> io::Result<Self> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: None,
        })
    }

    /// Returns at the next of them. Cancel-safe: one that comes between two calls is kept.
    pub async fn recv(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = hung_up(&mut self.hang_up) => {}
        }
    }
}

async fn hung_up(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => _ = signal.recv().await,
        None => std::future::pending().await,
    }
}

/// SIGHUP where it asks to read the rules again. A closed terminal sends it too: then it
/// is an end as for any program.
pub struct HangUp {
    signal: Signal,
    /// Begun in a terminal.
    in_terminal: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HangUpMeans {
    Reload,
    /// The terminal is gone.
    End,
}

impl HangUp {
    pub fn install() -> io::Result<Self> {
        Ok(HangUp {
            signal: signal(SignalKind::hangup())?,
            in_terminal: has_terminal(),
        })
    }

    /// Returns at the next one. Cancel-safe.
    pub async fn recv(&mut self) -> HangUpMeans {
        self.signal.recv().await;
        match self.in_terminal && !has_terminal() {
            true => HangUpMeans::End,
            false => HangUpMeans::Reload,
        }
    }
}

/// The terminal that controls the process: its device cannot be opened once it is closed.
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}
