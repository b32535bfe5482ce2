//! Who receives an event, and why others of its tenant do not. Reads the store and
//! writes nothing.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context;
use serde_json::value::RawValue;

use super::report::{Answer, EventReport, SubscriptionReport};
use crate::config::Config;
use crate::conninfo::{Client, Purpose};
use crate::db::{SchemaState, Store};
use crate::event::EventId;
use crate::lsn::Lsn;
use crate::mapping::filter::{Body, Filter};
use crate::mapping::{FilterError, Trace};
use crate::subscription::directory::read_generation;
use crate::subscription::spellings::Spellings;
use crate::subscription::wish::{self, Refusal, Wish};

/// The subscriptions as the store has them.
pub(super) struct Audience {
    /// `None`: there is no store yet, and so nobody is subscribed.
    store: Option<Client>,
    /// `delivery.max_body`.
    max_body: usize,
    generation: i64,
    tenants: HashMap<String, Vec<Wish>>,
    /// Of the tenants that have subscriptions.
    spellings: Spellings,
}

/// An event to be asked about.
pub(super) struct Asked<'a> {
    pub(super) id: EventId,
    pub(super) event_type: &'a str,
    pub(super) tenant_id: &'a str,
    pub(super) commit_lsn: Lsn,
    pub(super) body: &'a [u8],
}

impl Audience {
    pub(super) async fn open(config: &Config) -> anyhow::Result<Self> {
        let purpose = Purpose::Inspection("explain");
        let store = Store::open(&config.store, config.source.writable_url(), purpose)?;
        let client = match store.schema_state().await? {
            SchemaState::Absent => None,
            state @ (SchemaState::Current { .. } | SchemaState::Other) => {
                store.require(&state)?;
                Some(store.connect(purpose).await?)
            }
        };
        let mut audience = Audience {
            store: client,
            max_body: config.delivery.max_body,
            generation: -1,
            tenants: HashMap::new(),
            spellings: Spellings::default(),
        };
        audience.refresh().await?;
        Ok(audience)
    }

    pub(super) fn store(&self) -> Option<&Client> {
        self.store.as_ref()
    }

    /// Looks whether a subscription has changed, and reads them again.
    pub(super) async fn refresh(&mut self) -> anyhow::Result<()> {
        let Some(client) = &self.store else {
            return Ok(());
        };
        let generation = read_generation(client).await?;
        if generation != self.generation {
            let read = wish::by_tenant(client).await;
            self.tenants = read.context("read the subscriptions")?;
            let subscribed = self.tenants.iter().filter(|(_, wishes)| !wishes.is_empty());
            self.spellings = Spellings::of(subscribed.map(|(tenant, _)| Arc::from(&**tenant)));
            self.generation = generation;
        }
        Ok(())
    }

    /// The subscriptions of a tenant.
    pub(super) fn of(&self, tenant: &str) -> &[Wish] {
        self.tenants.get(tenant).map_or(&[], Vec::as_slice)
    }

    pub(super) fn report(&self, asked: &Asked<'_>, condition: Option<Trace>) -> EventReport {
        let text = String::from_utf8_lossy(asked.body).into_owned();
        let subscriptions = self.of(asked.tenant_id).iter();
        EventReport {
            event_id: asked.id.to_string(),
            tenant_id: asked.tenant_id.to_owned(),
            tenant_unknown: !self.tenants.contains_key(asked.tenant_id),
            resembles: self
                .spellings
                .similar(asked.tenant_id)
                .filter(|similar| &***similar != asked.tenant_id)
                .map(|similar| similar.to_string()),
            body: RawValue::from_string(text).ok(),
            condition,
            subscriptions: subscriptions
                .map(|wish| SubscriptionReport {
                    id: wish.id,
                    url: without_query(&wish.url),
                    answer: match answer(wish, asked) {
                        Answer::Receives if asked.body.len() > self.max_body => Answer::Oversized {
                            bytes: asked.body.len(),
                            max_body: self.max_body,
                        },
                        answer => answer,
                    },
                })
                .collect(),
        }
    }
}

fn answer(wish: &Wish, asked: &Asked<'_>) -> Answer {
    match wish.refusal(asked.event_type, asked.commit_lsn) {
        Some(Refusal::OtherTypes) => Answer::OtherTypes {
            events: wish.events.clone(),
        },
        Some(Refusal::Inactive) => Answer::Inactive,
        Some(Refusal::BeginsLater(from_lsn)) => Answer::BeginsLater { from_lsn },
        None => match filtered(wish, asked.body) {
            Ok(None) => Answer::Receives,
            Ok(Some(filter)) => Answer::FilterFalse { filter },
            Err(error) => Answer::FilterFailed {
                error: error.to_string(),
            },
        },
    }
}

/// The filter's trace where it does not hold.
fn filtered(wish: &Wish, body: &[u8]) -> Result<Option<Trace>, FilterError> {
    let Some(source) = &wish.filter else {
        return Ok(None);
    };
    let filter = Filter::compile(source)?;
    let body = Body::parse(body)?;
    let holds = filter.matches_body(&body)?;
    Ok((!holds).then(|| filter.trace(&body)))
}

/// Some endpoints carry a token in the query.
fn without_query(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    url[..end].to_owned()
}
