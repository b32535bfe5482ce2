//! `walhook token`.

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::tenant_rows::{self, Rows};
use super::{Outcome, UsageError};
use crate::api::tokens::{self, NewToken, StoredToken};
use crate::audit::Caller;
use crate::config::Config;
use crate::conninfo::Purpose;
use crate::db::Store;
use crate::duration::HumanDuration;
use crate::terminal::{Lines, tell};

/// Make, list and revoke the API's tokens
///
/// A token lets its bearer manage one tenant's subscriptions and see that tenant's
/// deliveries. It is shown once; the store keeps only a hash of it.
#[derive(Debug, clap::Subcommand)]
#[command(after_long_help = "\
Examples:
  walhook token create --tenant acme --name 'their CI' --expires 90d
  walhook token list --tenant acme
  walhook token revoke 0199f3c1-5d5e-7c3a-9f0e-3b1c2d4e5f60
  curl -H \"Authorization: Bearer $TOKEN\" http://127.0.0.1:8080/api/v1/tenant/webhooks/subscriptions")]
pub enum Command {
    /// Make a token and print it, this once
    Create {
        /// The tenant's id, as the rows' tenant column has it.
        #[arg(long)]
        tenant: String,
        /// What the token is for.
        #[arg(long, default_value = "")]
        name: String,
        /// How long it is valid, such as 90d; for ever without this.
        #[arg(long, value_name = "DURATION", value_parser = positive)]
        expires: Option<HumanDuration>,
        /// Let it make and revoke tokens of its tenant, by the API's calls at /tokens.
        #[arg(long)]
        manages_tokens: bool,
    },
    /// List the tokens, without what they are
    List {
        /// Those of one tenant only.
        #[arg(long)]
        tenant: Option<String>,
        /// Print them as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Revoke a token: within seconds no instance admits it any more
    Revoke {
        /// The id that `walhook token list` shows.
        id: Uuid,
    },
}

pub async fn run(command: Command, config: &Config) -> anyhow::Result<Outcome> {
    let store = Store::open(
        &config.store,
        config.source.writable_url(),
        Purpose::Command("token"),
    )?;
    store.check_schema().await?;
    match command {
        Command::Create {
            tenant,
            name,
            expires,
            manages_tokens,
        } => {
            if tenant.is_empty() {
                return Err(
                    UsageError("--tenant is empty: give the tenant's id".to_owned()).into(),
                );
            }
            let new = NewToken {
                name: &name,
                expires_in: expires.map(|HumanDuration(length)| length),
                manages_tokens,
                ..NewToken::default()
            };
            let token = tokens::create_by(&Caller::of_command(), &store, &tenant, &new).await?;
            // Alone on standard output, so that a script can take it.
            super::print(token.text())?;
            tell(format_args!(
                "Shown this once. It acts for the tenant `{tenant}`."
            ));
            if let Some(remark) = remark(&tenant, config).await {
                tell(remark);
            }
            Ok(Outcome::Holds)
        }
        Command::List { tenant, json } => {
            let tokens = tokens::list(&store, tenant.as_deref()).await?;
            if json {
                let shown: Vec<Shown<'_>> = tokens.iter().map(Shown::from).collect();
                super::print_json(&shown)?;
            } else {
                super::print_lines(&table(&tokens))?;
            }
            Ok(Outcome::Holds)
        }
        Command::Revoke { id } => {
            if tokens::revoke(&Caller::of_command(), &store, id).await? {
                super::print(format_args!("Revoked {id}."))?;
                return Ok(Outcome::Holds);
            }
            anyhow::bail!(
                "there is no token {id} that is not revoked already: see `walhook token list`"
            )
        }
    }
}

/// What is to be said of the tenant's rows: of a misspelt tenant there are none.
async fn remark(tenant: &str, config: &Config) -> Option<String> {
    match tenant_rows::look_up(tenant, config).await {
        Rows::Some | Rows::Unknown { why: None } => None,
        Rows::Otherwise { column, spelling } => Some(format!(
            "Rows spell this tenant `{spelling}`, in {column}, and tenants are compared as text: a token for \
             `{tenant}` receives none of their events. Make one for `{spelling}`."
        )),
        Rows::None { columns } if columns.is_empty() => Some(format!(
            "No rule makes events for `{tenant}`: each has another tenant, the same for all rows."
        )),
        Rows::None { columns } => Some(format!(
            "No row has the tenant `{tenant}` yet, in {}: until one has, there are no events for it.",
            columns.join(", ")
        )),
        Rows::Unknown { why: Some(why) } => Some(format!(
            "Whether any row is this tenant's could not be looked up: {}",
            crate::terminal::chain(&why)
        )),
    }
}

fn positive(text: &str) -> Result<HumanDuration, String> {
    let duration: HumanDuration = text.parse().map_err(|error| format!("{error}"))?;
    match duration.0.is_zero() {
        true => Err("a token must be valid for some time".to_owned()),
        false => Ok(duration),
    }
}

/// A token as JSON shows it: never its hash.
#[derive(Serialize)]
struct Shown<'a> {
    id: Uuid,
    tenant_id: &'a str,
    name: &'a str,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
}

impl<'a> From<&'a StoredToken> for Shown<'a> {
    fn from(token: &'a StoredToken) -> Self {
        Shown {
            id: token.id,
            tenant_id: &token.tenant_id,
            name: &token.name,
            created_at: token.created_at,
            expires_at: token.expires_at,
            revoked_at: token.revoked_at,
        }
    }
}

fn table(tokens: &[StoredToken]) -> Lines {
    let mut lines = Lines::default();
    if tokens.is_empty() {
        lines.line("There is no token: `walhook token create --tenant …` makes one.");
    }
    for token in tokens {
        let state = match (token.revoked_at, token.expires_at) {
            (Some(at), _) => format!("revoked {at:.0}"),
            (None, Some(at)) if token.expired => format!("expired {at:.0}"),
            (None, Some(at)) => format!("valid until {at:.0}"),
            (None, None) => "valid".to_owned(),
        };
        let (tenant, name) = (&token.tenant_id, &token.name);
        let line = format!("{}  {tenant}  {state}  {name}", token.id);
        lines.line(line.trim_end());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    #[test]
    fn a_list_says_which_tokens_still_act() {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let hour = SignedDuration::from_hours(1);
        let token = |expires_at, revoked_at| StoredToken {
            id: Uuid::nil(),
            tenant_id: "acme".to_owned(),
            name: "CI".to_owned(),
            created_at: now,
            expires_at,
            expired: expires_at.is_some_and(|at| at <= now),
            revoked_at,
        };
        let cases = [
            (token(None, None), "valid"),
            (
                token(Some(now + hour), None),
                "valid until 2026-11-23T13:00:00Z",
            ),
            (
                token(Some(now - hour), None),
                "expired 2026-11-23T11:00:00Z",
            ),
            (
                token(Some(now + hour), Some(now)),
                "revoked 2026-11-23T12:00:00Z",
            ),
        ];
        for (token, state) in cases {
            let line = table(&[token]).to_string();
            assert!(line.contains(&format!("  acme  {state}  CI")), "{line}");
        }
    }
}
