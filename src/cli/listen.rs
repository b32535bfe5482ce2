//! `walhook listen`: a local receiver that shows what arrives and whether it verifies.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::cli::signals::Signals;
use crate::demo::receiver::{Endpoint, Received, Receiver, StatusCode, Verdict};
use crate::demo::view::{Screen, request_line};
use crate::secret::{PublicKey, SigningSecret};
use crate::terminal::{tell, visible};

/// Receive webhooks here, show each, and say whether its signature verifies.
///
/// Answers what verifies with --status and what does not with 401, as a real
/// receiver does. Ctrl-C ends it with a summary; the exit code is 1 when a request
/// did not verify, or when nothing could listen.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  # Receive on http://127.0.0.1:9000/ under the secret that creating the subscription showed
  WALHOOK_LISTEN_SECRET=whsec_… walhook listen

  # While a secret is rotated, either may sign
  walhook listen --secret whsec_new… --secret whsec_old…

  # Verify the ed25519 signatures of a subscription with a signing key
  walhook listen --public-key whpk_…

  # See retries: refuse everything
  walhook listen --status 500

walhook sends to this machine only where the configuration allows it:
  [security]
  allow_http = true
  allow_networks = [\"127.0.0.0/8\"]")]
pub struct Args {
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 9000)]
    pub port: u16,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub bind: IpAddr,
    /// Secret to verify with, as the API showed it; may be given more than once.
    /// Without any, and without a public key, nothing is verified
    // The environment is the better place: arguments are seen by every user of the machine.
    #[arg(long, env = "WALHOOK_LISTEN_SECRET", hide_env_values = true)]
    pub secret: Vec<SecretString>,
    /// Public key (`whpk_…`) of a subscription with a signing key: verifies its v1a
    /// signatures. May be given more than once
    #[arg(long, value_name = "WHPK")]
    pub public_key: Vec<String>,
    /// HTTP status to answer with
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(200..=599))]
    pub status: u16,
    /// Wait so many milliseconds before each answer
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub delay: u64,
    /// Print each body too
    #[arg(long)]
    pub print_body: bool,
    /// One JSON object a line, for programs
    #[arg(long)]
    pub json: bool,
}

/// Receives until Ctrl-C or SIGTERM. Answers whether everything that was to be
/// verified did verify.
pub async fn run(args: Args) -> anyhow::Result<bool> {
    let secrets = args
        .secret
        .iter()
        .map(|text| SigningSecret::parse(text.expose_secret()))
        .collect::<Result<Vec<_>, _>>()
        .context("read --secret")?;
    let public_keys = args
        .public_key
        .iter()
        .map(|text| PublicKey::parse(text))
        .collect::<Result<Vec<_>, _>>()
        .context("read --public-key")?;
    let checks = !secrets.is_empty() || !public_keys.is_empty();
    let endpoint = Endpoint {
        path: None,
        secrets,
        public_keys,
        status: StatusCode::from_u16(args.status).context("read --status")?,
        failing: 0,
        delay: Duration::from_millis(args.delay),
    };
    let listener = bind(SocketAddr::new(args.bind, args.port)).await?;
    let (sender, mut received) = mpsc::channel(64);
    let receiver = Receiver::start(listener, vec![endpoint], sender)?;
    let mut signals = Signals::install()?;

    // What a program reads on standard output is requests only.
    tell(format_args!("listening on http://{}/", receiver.address()));
    if !checks {
        tell("no --secret and no --public-key: signatures are not checked");
    }
    let mut screen = Screen::new(false);
    let mut summary = Summary::default();
    let shown = loop {
        tokio::select! {
            // Both are cancel-safe: nothing is taken that is not returned.
            () = signals.recv() => break Ok(()),
            Some(request) = received.recv() => {
                summary.count(&request);
                if let Err(error) = show(&mut screen, &args, &request) {
                    break Err(error);
                }
            }
        }
    };
    // What is being answered must not wait for a reader that has stopped reading.
    received.close();
    receiver.stop().await;
    match shown {
        // Whoever read our output has had enough: that is an end like Ctrl-C.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        shown => shown.context("write to standard output")?,
    }
    tell(summary.text(checks));
    Ok(summary.refused == 0)
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let port = address.port();
    TcpListener::bind(address).await.with_context(|| {
        format!("listen on {address}: is another program using port {port}? Choose one with --port")
    })
}

fn show(screen: &mut Screen, args: &Args, request: &Received) -> io::Result<()> {
    if args.json {
        let line = json_line(request, args.print_body).to_string();
        return screen.line(&visible(&line));
    }
    screen.line(&request_line(screen.style(), request))?;
    if args.print_body {
        let body = String::from_utf8_lossy(&request.body);
        screen.line(&visible(&body))?;
    }
    Ok(())
}

fn json_line(request: &Received, print_body: bool) -> serde_json::Value {
    let (verified, error) = match &request.verdict {
        Verdict::Verified => (Some(true), None),
        Verdict::Refused(error) => (Some(false), Some(error.to_string())),
        Verdict::NotChecked => (None, None),
    };
    let mut line = serde_json::json!({
        "at": request.at.to_string(),
        "path": request.path,
        "webhook_id": request.webhook_id,
        "type": request.event_type,
        "tenant_id": request.tenant_id,
        "events": request.events,
        "attempt": request.attempt,
        "verified": verified,
        "error": error,
        "latency_ms": request.latency.map(|latency| latency.as_secs_f64() * 1e3),
        "status": request.status.as_u16(),
    });
    if print_body {
        line["body"] = String::from_utf8_lossy(&request.body).into();
    }
    line
}

#[derive(Default)]
struct Summary {
    requests: u64,
    verified: u64,
    refused: u64,
}

impl Summary {
    fn count(&mut self, request: &Received) {
        self.requests += 1;
        match request.verdict {
            Verdict::Verified => self.verified += 1,
            Verdict::Refused(_) => self.refused += 1,
            Verdict::NotChecked => {}
        }
    }

    fn text(&self, checks: bool) -> String {
        let Summary {
            requests,
            verified,
            refused,
        } = self;
        if checks {
            format!("{requests} requests: {verified} verified, {refused} not verified")
        } else {
            format!("{requests} requests, not checked")
        }
    }
}
