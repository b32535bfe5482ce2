//! `walhook demo`: all of walhook at work on a throwaway PostgreSQL, with a sample
//! application and a receiver that verifies. The embedded PostgreSQL also serves the
//! tests and the benches.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::api::{PublicUrl, tokens};
use crate::app::{self, Roles};
use crate::audit::Caller;
use crate::config::Config;
use crate::conninfo::{ConnInfo, Purpose};
use crate::console::capability::Capability;
use crate::console::links::{self, NewLink};
use crate::db::Store;
use crate::secret::ApiToken;
use crate::telemetry;
use crate::terminal::tell;

mod configuration;
mod introduction;
mod live;
pub mod postgres;
pub mod receiver;
mod subscriptions;
mod traffic;
pub mod view;
mod watcher;

use configuration::Directory;
use introduction::{Places, introduction};
use live::Live;
use postgres::Postgres;
use receiver::Receiver;
use traffic::TENANTS;
use view::Screen;
use watcher::Watcher;

#[derive(Clone, Debug)]
pub struct Options {
    /// Transactions of the sample application a second.
    pub rate: u32,
    /// The API's port; `None`: the usual one, or a free one where that is taken.
    pub port: Option<u16>,
    /// Ends by itself after so long.
    pub duration: Option<Duration>,
    pub plain: bool,
}

/// What `api.listen` is by default.
const USUAL_PORT: u16 = 8080;

/// How long walhook may take to finish what is in flight: the receiver is on this
/// machine and answers at once.
const DRAIN: Duration = Duration::from_secs(20);

/// Runs until `shutdown` or the end of `options.duration`, and leaves nothing behind.
/// Answers whether webhooks arrived and every one verified.
pub async fn run(options: Options, shutdown: CancellationToken) -> anyhow::Result<bool> {
    let listener = api_listener(options.port)?;
    let directory = Directory::create().context("create a directory for the demo")?;
    telemetry::install_into(File::create(directory.log())?);
    let mut screen = Screen::new(options.plain);
    screen.line("walhook demo: starting PostgreSQL …")?;
    // Not to be dropped half-way: whoever presses Ctrl-C now waits for the start to end,
    // and the server is stopped in order.
    let server = tokio::task::spawn_blocking(|| Postgres::start(&[])).await??;
    let watcher = Watcher::start(&server, directory.path()).context("watch over the server")?;
    let ended = Box::pin(with_server(
        &options, &server, &directory, listener, screen, &shutdown,
    ))
    .await;
    // Stopping waits for the server, which must not hold up a thread of the runtime.
    tokio::task::spawn_blocking(move || {
        drop(watcher);
        drop(server);
    })
    .await?;
    match ended {
        // Whoever read our output has had enough: an end like Ctrl-C.
        Err(error) if is_broken_pipe(&error) => Ok(true),
        Err(error) => {
            // The log is about to be removed.
            last_lines(&directory.log()).lines().for_each(tell);
            Err(error)
        }
        ended => ended,
    }
}

async fn with_server(
    options: &Options,
    server: &Postgres,
    directory: &Directory,
    api_listener: TcpListener,
    mut screen: Screen,
    shutdown: &CancellationToken,
) -> anyhow::Result<bool> {
    let api = api_listener.local_addr()?;
    let url = server.url("postgres");
    let config = directory.configure(&url, api)?;
    let Some(prepared) = shutdown
        .run_until_cancelled(Box::pin(prepare(&config, &url, api)))
        .await
    else {
        return Ok(true);
    };
    let Prepared { tokens, console } = prepared?;
    let places = Places {
        database: &url,
        api,
        console: &console,
        log: &directory.log(),
    };
    screen.pin(introduction(screen.style(), &places, &tokens))?;

    let (received_by, received) = mpsc::channel(1024);
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let wishes = subscriptions::wishes();
    let endpoints = wishes.iter().map(|wish| wish.endpoint.clone()).collect();
    let receiver = Receiver::start(listener, endpoints, received_by)?;

    let client = subscriptions::client(&config.security)?;
    let event_types: Vec<String> = config
        .rules()?
        .event_types()
        .map(ToString::to_string)
        .collect();
    let stop = CancellationToken::new();
    let running = app::run_on(api_listener, config, Roles::all(), stop.clone());
    let mut app = tokio::spawn(running);
    let subscribe = async {
        for wish in &wishes {
            let token = &tokens[usize::from(wish.tenant != TENANTS[0])];
            subscriptions::subscribe(&client, api, receiver.address(), token, wish).await?;
        }
        anyhow::Ok(())
    };
    let mut live = Live::new(screen, received, event_types);
    let ended = tokio::select! {
        biased;
        () = shutdown.cancelled() => Ok(true),
        early = &mut app => {
            early.context("run walhook")?.context("run walhook")?;
            anyhow::bail!("walhook ended by itself");
        }
        ended = async {
            subscribe.await?;
            live.run(&url, options, shutdown).await
        } => ended,
    };
    // First walhook, which may still send what is in flight, then whoever receives it.
    stop.cancel();
    match tokio::time::timeout(DRAIN, &mut app).await {
        Ok(drained) => drained.context("stop walhook")?.context("stop walhook")?,
        Err(_) => app.abort(),
    }
    live.receive_rest()?;
    receiver.stop().await;
    live.summary()?;
    ended
}

/// What opens the demo's doors.
struct Prepared {
    /// One for each tenant.
    tokens: Vec<ApiToken>,
    /// A link into the first tenant's console.
    console: String,
}

/// The sample application's tables, walhook's own, and a way in for each tenant.
async fn prepare(config: &Config, url: &str, api: SocketAddr) -> anyhow::Result<Prepared> {
    let application = ConnInfo::parse(url)?
        .connect(Purpose::Application, None)
        .await?;
    application
        .batch_execute(include_str!("../../sql/demo/01_schema.sql"))
        .await
        .context("create the sample tables")?;
    crate::setup::set_up(config).await?;
    let store = Store::open(
        &config.store,
        config.source.writable_url(),
        Purpose::Command("demo"),
    )?;
    let mut tokens = Vec::new();
    for tenant in TENANTS {
        tokens.push(tokens::create(&store, tenant, "demo", None).await?);
    }
    let link = NewLink {
        tenant: TENANTS[0].to_owned(),
        actor: "you".to_owned(),
        capabilities: Capability::ALL.to_vec(),
        // As long as anybody watches a demo.
        expires_in: A_DAY,
        session_ttl: A_DAY,
        next: links::USUAL_PAGE.to_owned(),
    };
    let public_url = PublicUrl::parse(&format!("http://{api}"))?;
    let minted = links::mint(&store, &public_url, &link, &Caller::of_command()).await?;
    Ok(Prepared {
        tokens,
        console: minted.url,
    })
}

const A_DAY: Duration = Duration::from_secs(86_400);

/// Where the API listens. Held from now on: a port that was only looked for would be another
/// program's by the time that walhook listens.
fn api_listener(port: Option<u16>) -> anyhow::Result<TcpListener> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    match port {
        None => bind(USUAL_PORT).or_else(|_| bind(0)).map_err(Into::into),
        Some(port) => bind(port).with_context(|| {
            format!(
                "listen on port {port} of 127.0.0.1: is another program using it? \
                 Choose one with --port, or --port 0 for any that is free"
            )
        }),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// The end of a log, to say what led to an error.
fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    lines[lines.len().saturating_sub(20)..].concat()
}
