//! A delivery is one tenant's throughout: rows that mix tenants are in the store only where
//! somebody put them there, and are never sent.

use uuid::Uuid;
use walhook::delivery::partitions;
use walhook::event::SubscriptionId;

use super::{Deployed, Tenant, text};
use crate::harness::receiver::Receiver;

/// An endpoint as the rows name it.
#[derive(Clone, Copy)]
struct Endpoint(&'static str, Uuid);

/// A delivery that is due: whose it is by its own row and by the schedule's, and of which event.
struct Planted {
    event: Uuid,
    delivery: Endpoint,
    schedule: Endpoint,
}

async fn subscribe(tenant: &Tenant, name: &'static str, url: &str, more: &str) -> Endpoint {
    let more = serde_json::from_str(more).unwrap();
    let subscription = tenant.subscribe_with(url, more).await;
    let id: SubscriptionId = text(&subscription["id"]).parse().unwrap();
    Endpoint(name, id.0)
}

async fn event(deployed: &Deployed, tenant: &str) -> Uuid {
    let client = deployed.walhook.store.get().await.unwrap();
    let id = Uuid::now_v7();
    partitions::ensure(&client, [id].into_iter()).await.unwrap();
    let sql = "insert into webhook_events (id, tenant_id, event_type, rule, commit_lsn, ordinal,
            rule_index, row_key, occurred_at, body)
        values ($1, $2::text, 'order.created', 'r', '0/1', 1, 0, $3, now(),
            convert_to(json_build_object('of', $2::text)::text, 'UTF8'))";
    let key = id.to_string();
    client.execute(sql, &[&id, &tenant, &key]).await.unwrap();
    id
}

/// Writes all of them in one statement. `batch`: `None`, each is due; else each waits for a
/// batch, or is in the given one.
async fn plant(deployed: &Deployed, planted: &[Planted], batch: Option<Option<Uuid>>) {
    let sql = "with planted as (
            select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::uuid[], $6::text[])
                as p (id, event_id, subscription, tenant, scheduled_subscription, scheduled_tenant)
        ), deliveries as (
            insert into webhook_deliveries (id, event_id, subscription_id, tenant_id, event_type, format)
            select id, event_id, subscription, tenant, 'order.created', 'standard' from planted
        )
        insert into delivery_schedule (delivery_id, subscription_id, tenant_id, event_type, status,
            due_at, batch_id, body_bytes, batch_lsn, batch_ordinal, batch_rule)
        select id, scheduled_subscription, scheduled_tenant, 'order.created', $7::text,
            now() - interval '1 second', $8::uuid,
            case when $7 <> 'pending' then 16 end, case when $7 <> 'pending' then '0/1'::pg_lsn end,
            case when $7 <> 'pending' then 1 end, case when $7 <> 'pending' then 0 end
        from planted";
    let ids: Vec<Uuid> = planted.iter().map(|_| Uuid::now_v7()).collect();
    let events: Vec<Uuid> = planted.iter().map(|one| one.event).collect();
    let of = |of: fn(&Planted) -> Endpoint| -> (Vec<&str>, Vec<Uuid>) {
        planted
            .iter()
            .map(of)
            .map(|Endpoint(tenant, id)| (tenant, id))
            .unzip()
    };
    let (tenants, subscriptions) = of(|one| one.delivery);
    let (scheduled_tenants, scheduled) = of(|one| one.schedule);
    let (status, batch) = match batch {
        None => ("pending", None),
        Some(None) => ("open", None),
        Some(Some(id)) => ("batched", Some(id)),
    };
    let client = deployed.walhook.store.get().await.unwrap();
    client
        .execute(
            sql,
            &[
                &ids,
                &events,
                &subscriptions,
                &tenants,
                &scheduled,
                &scheduled_tenants,
                &status,
                &batch,
            ],
        )
        .await
        .unwrap();
}

async fn only_own_deliveries_are_sent(more: &str) {
    let deployed = Deployed::start("").await;
    let receiver = Receiver::start().await;
    let (acme, globex) = (
        deployed.tenant("acme").await,
        deployed.tenant("globex").await,
    );
    let thief = subscribe(&acme, "acme", &receiver.url("/acme"), more).await;
    let other = subscribe(&globex, "globex", &receiver.url("/globex"), more).await;
    let (thiefs, others) = (
        event(&deployed, "acme").await,
        event(&deployed, "globex").await,
    );
    let planted = |event, delivery, schedule| Planted {
        event,
        delivery,
        schedule,
    };
    let (at_other, at_thief) = (Endpoint("acme", other.1), Endpoint("globex", thief.1));
    let foreign = [
        // Another's event, to the thief's endpoint.
        planted(others, thief, thief),
        // The thief's event, to another's endpoint, and signed for it.
        planted(thiefs, at_other, at_other),
        planted(thiefs, thief, at_other),
        planted(thiefs, thief, other),
        // Another's delivery, to the thief's endpoint.
        planted(others, other, thief),
        planted(others, other, at_thief),
        // All of it another's but the endpoint.
        planted(others, at_thief, at_thief),
    ];
    let own = [planted(thiefs, thief, thief), planted(others, other, other)];
    plant(&deployed, &foreign, None).await;
    plant(&deployed, &own, None).await;
    // Each was met: the claims have leased what they do not send.
    let met = format!(
        "select count(*) = {} and bool_and(lease_owner is not null) from delivery_schedule",
        foreign.len()
    );
    deployed.walhook.wait_for(&met).await;
    let requests = receiver.wait_for(own.len()).await;
    for request in &requests {
        let tenant = request.path.trim_start_matches('/');
        assert_eq!(request.json()["of"], tenant);
    }
    assert_eq!(requests.len(), own.len());
    let delivered = "select count(*) from webhook_deliveries where attempts > 0";
    assert_eq!(deployed.walhook.count(delivered).await, 2);
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_mix_tenants_are_never_sent() {
    only_own_deliveries_are_sent("{}").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_mix_tenants_are_never_sent_to_ordered_endpoints() {
    only_own_deliveries_are_sent(r#"{"ordering": "row"}"#).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_mix_tenants_join_no_batch() {
    let deployed = Deployed::start("").await;
    let receiver = Receiver::start().await;
    let globex = deployed.tenant("globex").await;
    let batch = r#"{"batch": {"max_events": 3, "max_wait": "1s"}}"#;
    let other = subscribe(&globex, "globex", &receiver.url("/globex"), batch).await;
    let (thiefs, others) = (
        event(&deployed, "acme").await,
        event(&deployed, "globex").await,
    );
    let at_other = Endpoint("acme", other.1);
    let planted = |event, delivery, schedule| Planted {
        event,
        delivery,
        schedule,
    };
    let foreign = || {
        [
            planted(thiefs, at_other, at_other),
            planted(others, at_other, other),
            planted(others, other, at_other),
        ]
    };
    let own = || planted(others, other, other);
    // Those that wait for a batch to close.
    let open: Vec<Planted> = foreign().into_iter().chain([own(), own(), own()]).collect();
    plant(&deployed, &open, Some(None)).await;
    let requests = receiver.wait_for(1).await;
    let of_globex = serde_json::json!([{"of": "globex"}, {"of": "globex"}, {"of": "globex"}]);
    assert_eq!(requests[0].json()["data"], of_globex);
    // Those that stand in a closed one already.
    let id = Uuid::now_v7();
    let members: Vec<Planted> = foreign().into_iter().chain([own(), own(), own()]).collect();
    plant(&deployed, &members, Some(Some(id))).await;
    let client = deployed.walhook.store.get().await.unwrap();
    let closed = "insert into delivery_schedule
            (delivery_id, batch_id, subscription_id, tenant_id, event_type, status, due_at, body_bytes)
        values ($1, $1, $2, 'globex', 'webhook.batch', 'pending', now(), 48)";
    client.execute(closed, &[&id, &other.1]).await.unwrap();
    let requests = receiver.wait_for(2).await;
    assert_eq!(requests[1].json()["data"], of_globex);
    // A whole batch of the thief's at another's endpoint is not sent at all.
    let id = Uuid::now_v7();
    plant(
        &deployed,
        &[planted(thiefs, at_other, at_other)],
        Some(Some(id)),
    )
    .await;
    let stolen = closed.replace("'globex'", "'acme'");
    client.execute(&stolen, &[&id, &other.1]).await.unwrap();
    let met =
        format!("select lease_owner is not null from delivery_schedule where delivery_id = '{id}'");
    deployed.walhook.wait_for(&met).await;
    plant(&deployed, &[own()], None).await;
    let requests = receiver.wait_for(3).await;
    assert_eq!(requests[2].json()["of"], "globex");
    deployed.stop();
}
