//! `walhook portal-link` and `walhook portal-session`.

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::{Outcome, UsageError};
use crate::api::PublicUrl;
use crate::audit::Caller;
use crate::config::Config;
use crate::conninfo::Purpose;
use crate::console::capability::Capability;
use crate::console::links::{
    self, LONGEST_SESSION, LONGEST_VALID, NewLink, OpenSession, Revocation, SHORTEST_VALID,
    USUAL_PAGE, USUAL_SESSION, USUAL_VALID, is_page,
};
use crate::db::Store;
use crate::duration::HumanDuration;
use crate::terminal::{Lines, tell};

/// Make a link that signs somebody of a tenant in to the console
///
/// The link works once, for some minutes: make it when it is clicked. It alone is printed to
/// standard output; it signs in the one who opens it first. The store keeps only a hash of it.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  walhook portal-link acme --actor 'anna@acme.example'
  walhook portal-link acme --capabilities view --session-ttl 1h
  walhook portal-link acme --next '/console/deliveries?status=failed'
  walhook portal-session list --tenant acme
  walhook portal-session revoke --actor 'anna@acme.example'")]
pub struct LinkArgs {
    /// The tenant's id, as the rows' tenant column has it.
    tenant: String,
    /// Who is to use it, as the tenant's others will see it.
    #[arg(long, default_value = "operator", value_parser = actor)]
    actor: String,
    /// What the session may do, with commas between: view, payloads, manage, secrets, resend, test and
    /// tokens. By default all but tokens.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "LIST",
        default_values_t = Capability::USUAL,
        hide_default_value = true
    )]
    capabilities: Vec<Capability>,
    /// How long the link may wait to be used: 1s to 10m.
    #[arg(long, value_name = "DURATION", default_value_t = HumanDuration(USUAL_VALID), value_parser = validity)]
    expires_in: HumanDuration,
    /// How long the session lasts at most: up to 24h. It also ends after an hour without use.
    #[arg(long, value_name = "DURATION", default_value_t = HumanDuration(USUAL_SESSION), value_parser = session_ttl)]
    session_ttl: HumanDuration,
    /// The page that it leads to, below /console/.
    #[arg(long, value_name = "PATH", default_value = USUAL_PAGE, value_parser = next)]
    next: String,
}

/// List and end the console's sessions
#[derive(Debug, clap::Subcommand)]
#[command(after_long_help = "\
Examples:
  walhook portal-session list --tenant acme
  walhook portal-session revoke --tenant acme
  walhook portal-session revoke --actor 'anna@acme.example'")]
pub enum SessionCommand {
    /// List the sessions that are open
    List {
        /// Those of one tenant only.
        #[arg(long)]
        tenant: Option<String>,
        /// Print them as JSON.
        #[arg(long)]
        json: bool,
    },
    /// End sessions, and links that were not used: within seconds no instance admits them
    ///
    /// What is given restricts what ends; at least one must be.
    Revoke(RevokeArgs),
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub struct RevokeArgs {
    /// The session, as `portal-session list` shows it.
    #[arg(long, value_name = "ID")]
    session: Option<Uuid>,
    /// The link that opens or opened it, as `portal-link` tells.
    #[arg(long, value_name = "ID")]
    link: Option<Uuid>,
    /// All of a tenant.
    #[arg(long)]
    tenant: Option<String>,
    /// All of somebody, of whatever tenant.
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
}

fn actor(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("say who is to use it".to_owned()),
        name if name.chars().count() > 200 => Err("use at most 200 characters".to_owned()),
        name => Ok(name.to_owned()),
    }
}

fn validity(text: &str) -> Result<HumanDuration, String> {
    let duration = some_time(text)?;
    match (SHORTEST_VALID..=LONGEST_VALID).contains(&duration.0) {
        true => Ok(duration),
        false => Err("a link is valid for 1s to 10m: make it when it is clicked".to_owned()),
    }
}

fn session_ttl(text: &str) -> Result<HumanDuration, String> {
    let duration = some_time(text)?;
    match duration.0 <= LONGEST_SESSION {
        true => Ok(duration),
        false => Err("a session lasts 24h at most: make another link after it".to_owned()),
    }
}

fn some_time(text: &str) -> Result<HumanDuration, String> {
    let duration: HumanDuration = text.parse().map_err(|error| format!("{error}"))?;
    match duration.0.as_secs() {
        0 => Err("use at least a second".to_owned()),
        _ => Ok(duration),
    }
}

fn next(text: &str) -> Result<String, String> {
    match is_page(text) {
        true => Ok(text.to_owned()),
        false => Err("expected a path such as /console/deliveries".to_owned()),
    }
}

pub async fn link(args: LinkArgs, config: &Config) -> anyhow::Result<Outcome> {
    if args.tenant.is_empty() {
        return Err(UsageError("the tenant is empty: give the tenant's id".to_owned()).into());
    }
    let public_url = public_url(config)?;
    let store = open(config, "portal-link").await?;
    let link = NewLink {
        tenant: args.tenant,
        actor: args.actor,
        capabilities: args.capabilities,
        expires_in: args.expires_in.0,
        session_ttl: args.session_ttl.0,
        next: args.next,
    };
    let minted = links::mint(&store, &public_url, &link, &Caller::of_command()).await?;
    // Alone on standard output, so that a script can take it.
    super::print(&minted.url)?;
    tell(format_args!(
        "Signs in once, until {:.0}, as `{}` of the tenant `{}`. Link {}.",
        minted.expires_at, link.actor, link.tenant, minted.id
    ));
    Ok(Outcome::Holds)
}

fn public_url(config: &Config) -> anyhow::Result<PublicUrl> {
    config.api.public_url(None).ok_or_else(|| {
        let listen = &config.api.listen;
        UsageError(format!(
            "api.listen = \"{listen}\" does not tell where browsers reach the console: set \
             api.public_url to its https address"
        ))
        .into()
    })
}

async fn open(config: &Config, name: &'static str) -> anyhow::Result<Store> {
    let store = Store::open(
        &config.store,
        config.source.writable_url(),
        Purpose::Command(name),
    )?;
    store.check_schema().await?;
    Ok(store)
}

pub async fn session(command: SessionCommand, config: &Config) -> anyhow::Result<Outcome> {
    let store = open(config, "portal-session").await?;
    match command {
        SessionCommand::List { tenant, json } => {
            let sessions = links::sessions(&store, tenant.as_deref()).await?;
            if json {
                let shown: Vec<Shown<'_>> = sessions.iter().map(Shown::from).collect();
                super::print_json(&shown)?;
            } else {
                super::print_lines(&table(&sessions))?;
            }
            Ok(Outcome::Holds)
        }
        SessionCommand::Revoke(args) => {
            let what = Revocation {
                link: args.link,
                session: args.session,
                tenant: args.tenant,
                actor: args.actor,
            };
            let ended = links::revoke(&store, &what, &Caller::of_command()).await?;
            if ended.links + ended.sessions == 0 {
                anyhow::bail!("there is nothing open to end: see `walhook portal-session list`");
            }
            super::print(format_args!(
                "Ended {} and revoked {}.",
                counted(ended.sessions, "session"),
                counted(ended.links, "unused link")
            ))?;
            Ok(Outcome::Holds)
        }
    }
}

fn counted(number: u64, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

/// A session as JSON shows it: nothing that opens one.
#[derive(Serialize)]
struct Shown<'a> {
    id: Uuid,
    link_id: Uuid,
    tenant_id: &'a str,
    actor: &'a str,
    capabilities: Vec<&'static str>,
    created_at: Timestamp,
    seen_at: Timestamp,
    expires_at: Timestamp,
}

impl<'a> From<&'a OpenSession> for Shown<'a> {
    fn from(session: &'a OpenSession) -> Self {
        Shown {
            id: session.id,
            link_id: session.link_id,
            tenant_id: &session.tenant_id,
            actor: &session.actor,
            capabilities: names(&session.capabilities),
            created_at: session.created_at,
            seen_at: session.seen_at,
            expires_at: session.expires_at,
        }
    }
}

fn names(capabilities: &[Capability]) -> Vec<&'static str> {
    capabilities.iter().map(|one| one.as_str()).collect()
}

fn table(sessions: &[OpenSession]) -> Lines {
    let mut lines = Lines::default();
    if sessions.is_empty() {
        lines.line("Nobody is signed in: `walhook portal-link TENANT` makes a link.");
    }
    for session in sessions {
        let (tenant, actor) = (&session.tenant_id, &session.actor);
        lines.line(format!(
            "{}  {tenant}  {actor}  until {:.0}  seen {:.0}  {}",
            session.id,
            session.expires_at,
            session.seen_at,
            names(&session.capabilities).join(",")
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_valid_for_minutes_and_leads_into_the_console() {
        for text in ["1s", "2m", "10m"] {
            assert!(validity(text).is_ok(), "{text}");
        }
        for text in ["0s", "11m", "soon", "1h"] {
            assert!(validity(text).is_err(), "{text}");
        }
        assert!(session_ttl("24h").is_ok() && session_ttl("25h").is_err());
        assert!(next("/console/events").is_ok());
        assert!(next("https://evil.example/").is_err());
        assert!(actor("  ").is_err());
    }
}
