//! What subscriptions ask for, without their secrets: to tell why one does not receive
//! an event.

use std::collections::HashMap;

use tokio_postgres::Error;

use super::directory::type_matches;
use crate::conninfo::Client;
use crate::event::SubscriptionId;
use crate::lsn::Lsn;

/// A subscription, as far as it decides which events it receives.
#[derive(Clone, Debug)]
pub struct Wish {
    pub id: SubscriptionId,
    pub tenant_id: String,
    pub url: String,
    pub events: Vec<String>,
    pub filter: Option<String>,
    pub active: bool,
    pub from_lsn: Lsn,
}

/// Why a subscription of the event's tenant does not receive it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    OtherTypes,
    Inactive,
    /// It receives what committed at or after this position.
    BeginsLater(Lsn),
}

/// The one rule of who receives what, filters apart; [`super::directory::Snapshot`]
/// matches by it.
pub(super) fn refusal(
    active: bool,
    from_lsn: Lsn,
    events: &[String],
    event_type: &str,
    commit_lsn: Lsn,
) -> Option<Refusal> {
    if !events.iter().any(|one| type_matches(one, event_type)) {
        Some(Refusal::OtherTypes)
    } else if !active {
        Some(Refusal::Inactive)
    } else if commit_lsn < from_lsn {
        Some(Refusal::BeginsLater(from_lsn))
    } else {
        None
    }
}

impl Wish {
    /// Why it does not receive such an event; `None`: it does, if its filter holds.
    pub fn refusal(&self, event_type: &str, commit_lsn: Lsn) -> Option<Refusal> {
        refusal(
            self.active,
            self.from_lsn,
            &self.events,
            event_type,
            commit_lsn,
        )
    }
}

/// All subscriptions by their tenants, oldest first. A tenant that has a token and no
/// subscription is there too, with none.
pub async fn by_tenant(client: &Client) -> Result<HashMap<String, Vec<Wish>>, Error> {
    let mut tenants: HashMap<String, Vec<Wish>> = HashMap::new();
    let query = include_str!("../../sql/queries/subscription/list_token_tenants.sql");
    for row in client.query(query, &[]).await? {
        tenants.entry(row.get(0)).or_default();
    }
    let query = include_str!("../../sql/queries/subscription/list_wishes.sql");
    for row in client.query(query, &[]).await? {
        let wish = Wish {
            id: SubscriptionId(row.get("id")),
            tenant_id: row.get("tenant_id"),
            url: row.get("url"),
            events: row.get("events"),
            filter: row.get("filter"),
            active: row.get("active"),
            from_lsn: row.get("from_lsn"),
        };
        tenants
            .entry(wish.tenant_id.clone())
            .or_default()
            .push(wish);
    }
    Ok(tenants)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_is_the_one_to_mend_first() {
        let events = ["order.*".to_owned()];
        let refused =
            |active, from, event_type, at| refusal(active, Lsn(from), &events, event_type, Lsn(at));
        assert_eq!(refused(true, 5, "order.paid", 5), None);
        assert_eq!(
            refused(true, 5, "order.paid", 4),
            Some(Refusal::BeginsLater(Lsn(5)))
        );
        assert_eq!(refused(false, 5, "order.paid", 4), Some(Refusal::Inactive));
        assert_eq!(
            refused(false, 5, "lead.created", 9),
            Some(Refusal::OtherTypes)
        );
    }
}
