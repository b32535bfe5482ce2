//! `/tokens`: a tenant's own tokens of the API. Those who may make one give it no right and no
//! time that they lack.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as AxumState;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::State;
use super::error::Problem;
use super::extract::{self, Body, PathId, Query, Tenant};
use super::tokens::{self, NewToken};
use super::trail::AuditPrincipal;
use crate::audit::{Caller, Principal, PrincipalKind};
use crate::conninfo::Transaction;
use crate::db::tenant_transaction;

/// The longest name, in characters.
const MAX_NAME: usize = 200;

/// A token of the API, without what it is.
#[derive(Serialize, ToSchema)]
pub struct Token {
    #[schema(examples("019aa8f1-7c00-7000-8000-000000000000"))]
    pub id: String,
    #[schema(examples("their CI"))]
    pub name: String,
    /// Whether it may see, make and revoke tokens itself. Everything else each token may do.
    pub manages_tokens: bool,
    pub created_at: Timestamp,
    pub created_by: AuditPrincipal,
    /// The same, for pages.
    #[serde(skip)]
    pub maker: Principal,
    /// To the minute; null where it was not used yet.
    pub last_used_at: Option<Timestamp>,
    /// From where it was used then.
    #[schema(value_type = Option<String>)]
    pub last_used_from: Option<IpAddr>,
    /// Null: it is valid until it is revoked.
    pub expires_at: Option<Timestamp>,
    pub expired: bool,
    pub revoked_at: Option<Timestamp>,
}

/// A token that was made.
#[derive(Serialize, ToSchema)]
pub struct CreatedToken {
    #[schema(examples("019aa8f1-7c00-7000-8000-000000000000"))]
    pub id: String,
    /// Shown this once.
    #[schema(examples("whk_…"))]
    pub token: String,
    pub name: String,
    pub manages_tokens: bool,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
pub struct TokenPage {
    pub data: Vec<Token>,
    /// Pass it as `cursor` for the next page; null on the last.
    pub next_cursor: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListTokens {
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
}

impl ListTokens {
    /// The page at a cursor, or the first.
    pub fn after(cursor: Option<String>) -> Self {
        ListTokens {
            cursor,
            limit: None,
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// What it is for: 1 to 200 characters.
    #[schema(max_length = 200, examples("their CI"))]
    pub name: String,
    /// When it ends; null or absent: when it is revoked. No later than the token that calls.
    pub expires_at: Option<Timestamp>,
    /// Whether it may see, make and revoke tokens itself; false if absent.
    #[serde(default)]
    pub manages_tokens: bool,
}

/// List the tokens
///
/// Newest first, for 30 days also those that expired or were revoked. Wants a token that manages
/// tokens.
#[utoipa::path(get, path = "/tokens", tag = "Tokens", params(ListTokens),
    responses((status = 200, description = "A page of tokens, without what they are", body = TokenPage),
        (status = 403, description = "The caller may not manage tokens", body = super::error::Problem, content_type = "application/problem+json")))]
pub async fn list_tokens(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    caller: Caller,
    Query(query): Query<ListTokens>,
) -> Result<Json<TokenPage>, Problem> {
    let limit = extract::limit(query.limit)?;
    let before = extract::cursor(query.cursor.as_deref())?.map_or(Uuid::max(), |[id]| id);
    let mut client = state.store.get().await?;
    let transaction = tenant_transaction(&mut client, &tenant).await?;
    may_manage(&transaction, &caller).await?;
    let rows = transaction
        .query(
            include_str!("../../sql/queries/api/list_own_tokens.sql"),
            &[&before, &(limit + 1)],
        )
        .await?;
    let (rows, next_cursor) = extract::page(rows, limit, |row| [row.get("id")]);
    Ok(Json(TokenPage {
        data: rows.iter().map(Token::of).collect(),
        next_cursor,
    }))
}

/// Create a token
///
/// It acts for the tenant as the one that calls does. Wants a token that manages tokens; the new
/// one ends no later.
#[utoipa::path(post, path = "/tokens", tag = "Tokens", request_body = CreateToken,
    responses((status = 201, description = "The token, shown this once", body = CreatedToken),
        (status = 403, description = "The caller may not manage tokens, or not for so long", body = super::error::Problem, content_type = "application/problem+json")))]
pub async fn create_token(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    caller: Caller,
    Body(request): Body<CreateToken>,
) -> Result<(StatusCode, Json<CreatedToken>), Problem> {
    let name = name(&request.name)?;
    if request.expires_at.is_some_and(|at| at <= Timestamp::now()) {
        return Err(Problem::invalid(
            "invalid_expires_at",
            "`expires_at` has passed: give a time to come, or none",
        ));
    }
    let mut client = state.store.get().await?;
    let transaction = tenant_transaction(&mut client, &tenant).await?;
    let ends = may_manage(&transaction, &caller).await?;
    if let Some(ends) = ends
        && request.expires_at.is_none_or(|at| at > ends)
    {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "expires_too_late",
            format!("the token that calls ends at {ends}: give `expires_at`, no later than that"),
        ));
    }
    let lock = include_str!("../../sql/queries/api/lock_own_tokens.sql");
    transaction.execute(lock, &[]).await?;
    let count = include_str!("../../sql/queries/api/count_own_tokens.sql");
    let valid = transaction.query_one(count, &[]).await?.get(0);
    state.limits.admit_token(valid)?;
    let new = NewToken {
        name,
        expires_at: request.expires_at,
        expires_in: None,
        manages_tokens: request.manages_tokens,
    };
    let created = tokens::insert(&transaction, &caller, &tenant, &new).await?;
    transaction.commit().await?;
    let answer = CreatedToken {
        id: created.id.to_string(),
        token: created.token.text().to_owned(),
        name: name.to_owned(),
        manages_tokens: new.manages_tokens,
        created_at: created.created_at,
        expires_at: new.expires_at,
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Revoke a token
///
/// It is refused within five seconds. What it has made stays:
/// `created_by` of these tokens names it. Wants a token that manages tokens.
#[utoipa::path(delete, path = "/tokens/{id}", tag = "Tokens",
    params(("id" = String, Path, description = "The token's id")),
    responses((status = 204, description = "Revoked"),
        (status = 403, description = "The caller may not manage tokens", body = super::error::Problem, content_type = "application/problem+json")))]
pub async fn revoke_token(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    caller: Caller,
    id: PathId,
) -> Result<StatusCode, Problem> {
    let token: Uuid = id.parse("token")?;
    let mut client = state.store.get().await?;
    let transaction = tenant_transaction(&mut client, &tenant).await?;
    may_manage(&transaction, &caller).await?;
    let sql = include_str!("../../sql/queries/api/revoke_own_token.sql");
    let row = transaction.query_opt(sql, &[&token]).await?;
    let row = row.ok_or_else(|| Problem::not_found("valid token", &id.0))?;
    let entry = tokens::revoked(&tenant, token, row.get("name"));
    caller.change().enter(&transaction, &entry).await?;
    transaction.commit().await?;
    state.caches.tokens.forget(token);
    Ok(StatusCode::NO_CONTENT)
}

/// That the caller may manage tokens at this moment, and until when its own is valid: of a session
/// of the console its route has asked for the capability.
async fn may_manage(
    transaction: &Transaction<'_>,
    caller: &Caller,
) -> Result<Option<Timestamp>, Problem> {
    let sql = match caller.principal.kind {
        PrincipalKind::Token => include_str!("../../sql/queries/api/managing_token.sql"),
        PrincipalKind::Portal => include_str!("../../sql/queries/api/managing_session.sql"),
        PrincipalKind::Jwt
        | PrincipalKind::Operator
        | PrincipalKind::Command
        | PrincipalKind::Walhook => return Err(may_not()),
    };
    let id = Uuid::try_parse(&caller.principal.name).map_err(|_| may_not())?;
    let row = transaction.query_opt(sql, &[&id]).await?;
    row.map(|row| row.get("expires_at")).ok_or_else(may_not)
}

fn may_not() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "tokens_not_permitted",
        "tokens are managed by a token that has `manages_tokens` (`walhook token create --manages-tokens`), or by a session of the \
         console that has the capability `tokens`",
    )
}

fn name(text: &str) -> Result<&str, Problem> {
    let name = text.trim();
    match name.chars().count() {
        1..=MAX_NAME if !name.chars().any(char::is_control) => Ok(name),
        _ => Err(Problem::invalid(
            "invalid_name",
            format!("`name` says what the token is for, in 1 to {MAX_NAME} characters"),
        )),
    }
}

impl Token {
    fn of(row: &Row) -> Self {
        let created_by = Principal {
            kind: PrincipalKind::of_stored(row.get("created_by_kind")),
            name: row.get("created_by"),
            actor: row.get("created_by_actor"),
        };
        Token {
            id: row.get::<_, Uuid>("id").to_string(),
            name: row.get("name"),
            manages_tokens: row.get("manages_tokens"),
            created_at: row.get("created_at"),
            created_by: created_by.clone().into(),
            maker: created_by,
            last_used_at: row.get("last_used_at"),
            last_used_from: row.get("last_used_from"),
            expires_at: row.get("expires_at"),
            expired: row.get("expired"),
            revoked_at: row.get("revoked_at"),
        }
    }
}
