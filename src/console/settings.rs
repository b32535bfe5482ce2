//! Who is signed in, what they may do, and how these pages look.

use std::sync::Arc;

use askama::Template;
use axum::extract::State as AxumState;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use jiff::Timestamp;
use uuid::Uuid;

use super::State;
use super::capability::{self, Capability};
use super::fault::Fault;
use super::fields::{Asked, Posted};
use super::links::is_page;
use super::markup::Markup;
use super::session::IDLE;
use super::shell::{Place, Shell, THEME_COOKIE, Theme, Visitor, page, see_other};
use crate::audit::Entry;
use crate::db::tenant_transaction;

struct Row {
    id: String,
    actor: String,
    capabilities: String,
    created_at: Timestamp,
    seen_at: Timestamp,
    expires_at: Timestamp,
    is_own: bool,
}

#[derive(Template)]
#[template(path = "settings.html")]
struct Page {
    shell: Shell,
    rows: Vec<Row>,
    capabilities: Vec<(Capability, bool)>,
}

impl Page {
    fn time(&self, at: &Timestamp) -> Markup {
        self.shell.time(at)
    }
}

/// The open sessions of the tenant, newest first.
pub async fn show(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    Asked(asked): Asked,
) -> Result<Response, Fault> {
    let mut client = state.api.store.get().await?;
    let transaction = tenant_transaction(&mut client, visitor.tenant()).await?;
    let rows = transaction
        .query(
            include_str!("../../sql/queries/console/list_own_sessions.sql"),
            &[&IDLE.as_secs_f64()],
        )
        .await?;
    let rows = rows.iter().map(|row| {
        let id: Uuid = row.get("id");
        let capabilities = capability::of_names(&row.get::<_, Vec<String>>("capabilities"));
        let names: Vec<&str> = capabilities.iter().map(|one| one.as_str()).collect();
        Row {
            id: id.to_string(),
            actor: row.get("actor"),
            capabilities: names.join(", "),
            created_at: row.get("created_at"),
            seen_at: row.get("seen_at"),
            expires_at: row.get("expires_at"),
            is_own: id == visitor.session.id,
        }
    });
    let notice = asked.get("done").filter(|done| *done == "end");
    let notice = notice.map(|_| "The session has ended: within seconds it is refused.".to_owned());
    page(&Page {
        rows: rows.collect(),
        capabilities: Capability::ALL.map(|one| (one, visitor.may(one))).to_vec(),
        shell: visitor
            .shell(Place::Settings, "Settings")
            .with_notice(notice),
    })
}

/// Ends a session of the tenant.
pub async fn end_session(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    Posted(form): Posted,
) -> Result<Response, Fault> {
    let id = form.get("session").and_then(|id| Uuid::try_parse(id).ok());
    let id = id.ok_or_else(|| Fault::invalid("invalid_id", "There is no such session."))?;
    let mut client = state.api.store.get().await?;
    let transaction = tenant_transaction(&mut client, visitor.tenant()).await?;
    let ended = transaction
        .execute(
            include_str!("../../sql/queries/console/end_own_session.sql"),
            &[&id],
        )
        .await?;
    if ended == 0 {
        return Err(
            Fault::invalid("not_found", "There is no such session that is open.")
                .with_next("/console/settings", "Sessions"),
        );
    }
    let entry = Entry {
        tenant: Some(visitor.tenant()),
        action: "portal_session.revoke",
        object: Some(id.to_string()),
        ..Entry::default()
    };
    visitor.caller.change().enter(&transaction, &entry).await?;
    transaction.commit().await?;
    state.sessions.forget(id);
    Ok(see_other("/console/settings?done=end"))
}

/// Chooses the colours, in a cookie that the server reads.
pub async fn theme(Posted(form): Posted) -> Result<Response, Fault> {
    let theme = form.get("theme").and_then(Theme::named);
    let theme = theme.ok_or_else(|| Fault::invalid("invalid_theme", "There is no such theme."))?;
    let back = form.get("back").filter(|path| is_page(path));
    let mut response = see_other(back.unwrap_or("/console/overview"));
    let cookie = format!(
        "{THEME_COOKIE}={}; Path=/console; Max-Age=31536000; SameSite=Lax",
        theme.as_str()
    );
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}
