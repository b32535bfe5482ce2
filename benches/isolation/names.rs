//! Endpoints with names: the healthy ones, and many further ones of two tenants, for whose
//! names a server answers or does not.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context;

use crate::deployment::Deployment;
use crate::deployment::receiver::{Manner, Receiver};
use crate::name_server::{Answer, NameServer};

/// Whether a server answers for the names of the further endpoints.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Further {
    Answered,
    Silent,
}

pub(crate) const FURTHER: usize = 1_500;
const FURTHER_TENANTS: usize = 2;
/// How often each of their tenants has an event, for all its endpoints.
const FURTHER_EVERY: Duration = Duration::from_secs(5);

/// The endpoint's URL by name instead of by address.
pub(crate) fn named(number: usize, url: &str) -> String {
    let port = url.rsplit(':').next().unwrap_or_default();
    format!("http://e{number}.endpoint.example:{port}")
}

/// Numbers of bad endpoints, which behave well here: what they get is not counted.
fn further_address(number: usize) -> usize {
    1_000_000 + number * 20
}

pub(crate) fn further_url(receiver: &Receiver, number: usize, further: Further) -> String {
    let url = receiver.url(further_address(number), Manner::Well);
    let port = url.rsplit(':').next().unwrap_or_default();
    match further {
        Further::Answered => format!("http://s{number}.endpoint.example:{port}"),
        Further::Silent => format!("http://s{number}.silent.example:{port}"),
    }
}

/// A name server that knows the endpoints, and says nothing of any other name.
pub(crate) async fn names(receiver: &Receiver, endpoints: usize) -> anyhow::Result<NameServer> {
    let mut known: HashMap<String, IpAddr> = HashMap::new();
    let healthy = (0..endpoints).map(|number| (format!("e{number}"), number));
    let further = (0..FURTHER).map(|number| (format!("s{number}"), further_address(number)));
    for (name, number) in healthy.chain(further) {
        let url = receiver.url(number, Manner::Well);
        let (address, _) = url
            .strip_prefix("http://")
            .and_then(|rest| rest.split_once(':'))
            .context("an endpoint's URL has no address")?;
        known.insert(format!("{name}.endpoint.example"), address.parse()?);
    }
    let judge = move |name: &str, _| match known.get(name) {
        Some(address) => Answer::Addresses(vec![*address]),
        None => Answer::Silence,
    };
    Ok(NameServer::start(judge).await)
}

pub(crate) fn further_tenant(number: usize) -> String {
    format!("further{}", number % FURTHER_TENANTS)
}

/// Commits events for the further endpoints.
pub(crate) async fn further_events(deployment: &Deployment) -> anyhow::Result<()> {
    // Below all numbers of the healthy ones' rows.
    for id in (i64::MIN..).step_by(FURTHER_TENANTS) {
        for tenant in 0..FURTHER_TENANTS {
            let (id, tenant) = (id + tenant as i64, further_tenant(tenant));
            deployment
                .admin
                .execute("insert into orders values ($1, $2, '')", &[&id, &tenant])
                .await?;
        }
        tokio::time::sleep(FURTHER_EVERY).await;
    }
    Ok(())
}
