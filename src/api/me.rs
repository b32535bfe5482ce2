//! `GET /me`: what holds for the tenant that asks.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State as AxumState;
use serde::Serialize;
use utoipa::ToSchema;

use super::State;
use super::error::Problem;
use super::extract::Tenant;
use super::limits::LimitsConfig;
use crate::db::{StoreConfig, tenant_transaction};
use crate::delivery::DeliveryConfig;
use crate::subscription::queries;

/// What of the configuration tenants see.
pub struct Settings {
    retention: Duration,
    retry_schedule: Vec<Duration>,
    timeout: Duration,
    max_body: usize,
    pub(super) disable_after: Option<Duration>,
}

impl Settings {
    pub fn of(store: &StoreConfig, delivery: &DeliveryConfig) -> Self {
        Settings {
            retention: store.retention.0,
            retry_schedule: delivery
                .retry_schedule
                .iter()
                .map(|delay| delay.0)
                .collect(),
            timeout: delivery.timeout.0,
            max_body: delivery.max_body,
            disable_after: delivery.disable_after(),
        }
    }
}

impl Settings {
    /// How long events and deliveries are kept.
    pub fn retention(&self) -> Duration {
        self.retention
    }

    /// How many attempts a delivery has at most.
    pub fn max_attempts(&self) -> usize {
        self.retry_schedule.len() + 1
    }

    /// How long an endpoint may take to answer.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Bytes of a body above which it is parked instead of sent.
    pub fn max_body(&self) -> usize {
        self.max_body
    }
}

#[derive(Serialize, ToSchema)]
pub struct Me {
    #[schema(examples("acme"))]
    tenant_id: String,
    /// How many subscriptions the tenant has.
    subscriptions: i64,
    limits: LimitsConfig,
    /// How long events and deliveries are kept, in seconds.
    retention_seconds: u64,
    /// Seconds before the second, third … attempt, to each of which up to a fifth is added.
    retry_schedule_seconds: Vec<u64>,
    /// How long an endpoint may take to answer.
    timeout_seconds: f64,
    /// Bytes of a body above which an event is parked instead of sent.
    max_body: usize,
}

/// Who am I, and what holds for me?
#[utoipa::path(get, path = "/me", tag = "Tenant",
    responses((status = 200, description = "The tenant, its limits, and how deliveries are made", body = Me)))]
pub async fn me(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
) -> Result<Json<Me>, Problem> {
    let mut client = state.store.get().await?;
    let transaction = tenant_transaction(&mut client, &tenant).await?;
    let subscriptions = queries::count(&transaction).await?;
    let settings = &state.settings;
    Ok(Json(Me {
        tenant_id: tenant.to_string(),
        subscriptions,
        limits: state.limits.config.clone(),
        retention_seconds: settings.retention.as_secs(),
        retry_schedule_seconds: settings
            .retry_schedule
            .iter()
            .map(Duration::as_secs)
            .collect(),
        timeout_seconds: settings.timeout.as_secs_f64(),
        max_body: settings.max_body,
    }))
}
