//! Signing in by a link's code, and out.

use std::sync::Arc;

use askama::Template;
use axum::extract::State as AxumState;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::State;
use super::assets::{PATHS, Paths};
use super::fault::{Fault, spoken};
use super::fields::Posted;
use super::gate::Caller;
use super::links::{self, Redeemed, USUAL_PAGE};
use super::session::{self, Asks, Session};
use super::shell::{Theme, Visitor, html, see_other};
use crate::api::PublicUrl;

#[derive(Template)]
#[template(path = "enter.html")]
struct Enter {
    theme: &'static str,
}

impl Enter {
    fn assets(&self) -> &'static Paths {
        &PATHS
    }
}

/// `/console`: the first page.
pub async fn home() -> Response {
    see_other(USUAL_PAGE)
}

/// The same for everybody: the code stands in the fragment, which no server sees, and the script
/// posts it. A bot that previews the link redeems nothing.
pub async fn show(headers: HeaderMap) -> Result<Response, Fault> {
    let page = Enter {
        theme: Theme::of(&headers).as_str(),
    };
    Ok(html(StatusCode::OK, page.render()?))
}

/// Opens the session of a code, once.
pub async fn redeem(
    AxumState(state): AxumState<Arc<State>>,
    caller: Caller,
    headers: HeaderMap,
    Posted(form): Posted,
) -> Result<Response, Fault> {
    let Some(public_url) = &state.public_url else {
        return Err(super::gate::no_page().await);
    };
    let code = form.get("code").unwrap_or_default();
    // Also the whole link, as people paste it.
    let code = code.rsplit('#').next().unwrap_or_default();
    let refused = |code, detail: String| {
        let again = "Open the webhooks page of your application again: it gives you a new link.";
        Fault::new(
            StatusCode::FORBIDDEN,
            code,
            "This link does not sign you in",
            format!("{detail} {again}"),
        )
    };
    let _turn = state.in_turn(caller).await?;
    if !form.has("instead")
        && let Some(page) = other_tenant(&state, public_url, &headers, code).await?
    {
        return Ok(page);
    }
    match links::redeem(&state.api.store, code).await? {
        Redeemed::Opened {
            cookie,
            lasts,
            next,
        } => {
            let mut response = see_other(&next);
            let cookie = session::set_cookie(public_url, Some((&cookie, lasts)));
            response.headers_mut().insert(header::SET_COOKIE, cookie);
            Ok(response)
        }
        Redeemed::Used(at) => Err(refused(
            "link_used",
            format!("It was used at {}, and works once.", spoken(at)),
        )),
        Redeemed::Expired(at) => Err(refused(
            "link_expired",
            format!("It expired at {}.", spoken(at)),
        )),
        Redeemed::Revoked(at) => Err(refused(
            "link_revoked",
            format!("It was revoked at {}.", spoken(at)),
        )),
        Redeemed::Unknown => {
            state.is_strange(caller);
            let detail = "Its code is unknown here: it may be cut off.";
            Err(refused("link_unknown", detail.to_owned()))
        }
    }
}

#[derive(Template)]
#[template(path = "instead.html")]
struct Instead<'a> {
    theme: &'static str,
    code: &'a str,
    session: &'a Session,
    tenant: &'a str,
}

impl Instead<'_> {
    fn assets(&self) -> &'static Paths {
        &PATHS
    }
}

/// Asks first where the browser is signed in for another tenant: a user who opens a link of a
/// stranger would otherwise go on in the stranger's pages as if they were their own.
async fn other_tenant(
    state: &State,
    public_url: &PublicUrl,
    headers: &HeaderMap,
    code: &str,
) -> Result<Option<Response>, Fault> {
    let Some(cookie) = session::cookie(headers, public_url) else {
        return Ok(None);
    };
    let known = session::find(&state.api.store, &state.sessions, &cookie, Asks::Page).await?;
    let Ok(session) = known else { return Ok(None) };
    let tenant = links::tenant_of(&state.api.store, code).await?;
    let Some(tenant) = tenant.filter(|tenant| **tenant != *session.tenant) else {
        return Ok(None);
    };
    let page = Instead {
        theme: Theme::of(headers).as_str(),
        code,
        session: &session,
        tenant: &tenant,
    };
    Ok(Some(html(StatusCode::OK, page.render()?)))
}

/// Ends the session at once, here and in the store.
pub async fn sign_out(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
) -> Result<Response, Fault> {
    let what = links::Revocation {
        session: Some(visitor.session.id),
        tenant: Some(visitor.tenant().to_string()),
        ..links::Revocation::default()
    };
    links::revoke(&state.api.store, &what, &visitor.caller)
        .await
        .map_err(crate::api::error::Problem::from)?;
    state.sessions.forget(visitor.session.id);
    let mut response = Fault::new(
        StatusCode::OK,
        "signed_out",
        "You are signed out",
        "Open the webhooks page of your application to come back.",
    )
    .into_response();
    if let Some(public_url) = &state.public_url {
        let cookie = session::set_cookie(public_url, None);
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}
