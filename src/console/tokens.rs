//! The tokens with which the tenant's own programs call the API. Each as the API's call does.

use std::net::IpAddr;
use std::sync::Arc;

use askama::Template;
use axum::Json;
use axum::extract::State as AxumState;
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};

use super::State;
use super::actions::call;
use super::capability::Capability;
use super::endpoints::request;
use super::fault::Fault;
use super::fields::{self, Asked, Posted};
use super::markup::Markup;
use super::shell::{Place, Shell, Visitor, page, see_other};
use super::words::who;
use crate::api::extract::{Body, PathId, Query};
use crate::api::own_tokens::{self, CreateToken, Token};

const PATH: &str = "/console/settings/tokens";

struct Row {
    id: String,
    name: String,
    is_managing: bool,
    created_at: Timestamp,
    created_by: String,
    last_used_at: Option<Timestamp>,
    last_used_from: Option<IpAddr>,
    expires_at: Option<Timestamp>,
    is_expired: bool,
    revoked_at: Option<Timestamp>,
}

impl Row {
    fn is_valid(&self) -> bool {
        !self.is_expired && self.revoked_at.is_none()
    }
}

impl From<Token> for Row {
    fn from(token: Token) -> Self {
        Row {
            created_by: who(&token.maker),
            id: token.id,
            name: token.name,
            is_managing: token.manages_tokens,
            created_at: token.created_at,
            last_used_at: token.last_used_at,
            last_used_from: token.last_used_from,
            expires_at: token.expires_at,
            is_expired: token.expired,
            revoked_at: token.revoked_at,
        }
    }
}

#[derive(Template)]
#[template(path = "tokens.html")]
struct Page {
    shell: Shell,
    rows: Vec<Row>,
    /// Where the older ones are, if there are any.
    next: Option<String>,
    /// What the session may not do, while a token may.
    lacking: Option<Capability>,
}

impl Page {
    fn time(&self, at: &Timestamp) -> Markup {
        self.shell.time(at)
    }
}

/// The tenant's tokens, newest first.
pub async fn show(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    Asked(asked): Asked,
) -> Result<Response, Fault> {
    let (api, tenant, caller) = call(&state, &visitor);
    let cursor = asked.get("cursor").map(str::to_owned);
    let query = Query(own_tokens::ListTokens::after(cursor));
    let Json(listed) = own_tokens::list_tokens(api, tenant, caller, query).await?;
    let next = listed.next_cursor;
    let notice = asked.get("done").filter(|done| *done == "revoke");
    let notice = notice.map(|_| "The token is revoked: within seconds it is refused.".to_owned());
    page(&Page {
        rows: listed.data.into_iter().map(Row::from).collect(),
        next: next.map(|cursor| format!("{PATH}{}", fields::query([("cursor", cursor.as_str())]))),
        lacking: lacking(&visitor),
        shell: visitor.shell(Place::Settings, "Tokens").with_notice(notice),
    })
}

/// A token may do everything: nobody makes one who may not.
fn lacking(visitor: &Visitor) -> Option<Capability> {
    let mut all = Capability::ALL.into_iter();
    all.find(|capability| !visitor.may(*capability))
}

#[derive(Template)]
#[template(path = "token.html")]
struct Made {
    shell: Shell,
    name: String,
    token: String,
}

/// Makes one and shows it this once.
pub async fn create(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    Posted(form): Posted,
) -> Result<Response, Fault> {
    if let Some(capability) = lacking(&visitor) {
        return Err(Fault::lacks(capability));
    }
    let days = form.get("days").map(|days| days.parse::<u16>().ok());
    let days = days.map(|days| days.filter(|days| (1..=3650).contains(days)));
    let expires_at = match days {
        None => None,
        Some(Some(days)) => {
            Some(Timestamp::now() + SignedDuration::from_hours(24 * i64::from(days)))
        }
        Some(None) => {
            return Err(Fault::invalid(
                "invalid_expires_at",
                "There is no such time for a token.",
            ));
        }
    };
    let (api, tenant, caller) = call(&state, &visitor);
    let wanted: CreateToken = request(serde_json::json!({
        "name": form.get("name").unwrap_or_default(),
        "expires_at": expires_at,
        "manages_tokens": form.has("manages_tokens"),
    }))?;
    let made = own_tokens::create_token(api, tenant, caller, Body(wanted)).await;
    let (_, Json(made)) = made.map_err(|problem| Fault::from(problem).with_next(PATH, "Tokens"))?;
    page(&Made {
        shell: visitor.shell(Place::Settings, "The new token"),
        name: made.name,
        token: made.token,
    })
}

/// Revokes one of the tenant.
pub async fn revoke(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    Posted(form): Posted,
) -> Result<Response, Fault> {
    let id = PathId(form.get("id").unwrap_or_default().to_owned());
    let (api, tenant, caller) = call(&state, &visitor);
    let revoked = own_tokens::revoke_token(api, tenant, caller, id).await;
    revoked.map_err(|problem| Fault::from(problem).with_next(PATH, "Tokens"))?;
    Ok(see_other(&format!("{PATH}?done=revoke")))
}
