-- The first open deliveries of each subscription, so many of them and so many bytes, the
-- last of each may exceed these. A CloudEvent's size is known when it is rendered. What is
-- not its endpoint's tenant's has no format, as what is not pending, and joins no batch.
with wanted as materialized (
    select w.*, s.tenant_id as endpoint_tenant
    from unnest($1::uuid[], $2::int4[], $3::int8[]) as w (subscription_id, events, bytes)
    left join webhook_subscriptions s on s.id = any (array[w.subscription_id])
),
head as materialized (
    select w.events as room_for, w.bytes as room, w.endpoint_tenant, first.*
    from wanted w
    cross join lateral (
        select s.subscription_id, s.delivery_id, s.tenant_id, s.due_at, s.body_bytes, s.batch_lsn, s.batch_ordinal,
            s.batch_rule
        from delivery_schedule s
        where s.status = 'open' and s.subscription_id = w.subscription_id
        order by s.batch_lsn, s.batch_ordinal, s.batch_rule, s.delivery_id
        limit w.events
        for update skip locked
    ) first
),
weighed as materialized (
    select head.*, sum(body_bytes) over (
            partition by subscription_id order by batch_lsn, batch_ordinal, batch_rule, delivery_id
        ) - body_bytes as before,
        count(*) over (partition by subscription_id) as met
    from head
),
cut as materialized (
    select weighed.*, bool_or(before >= room) over (partition by subscription_id) as too_many
    from weighed
)
select w.subscription_id, w.delivery_id, w.body_bytes, d.format,
    (extract(epoch from now() - w.due_at) * 1000)::bigint as waited,
    case when d.format = 'cloudevents' then (
        select body from webhook_events e
        where e.id = d.event_id and coalesce(e.tenant_id = d.tenant_id, false)
    ) end as body,
    w.met = w.room_for or w.too_many as more
from cut w
left join webhook_deliveries d on d.id = any (array[w.delivery_id]) and d.status = 'pending'
    and coalesce(
        d.subscription_id = w.subscription_id
            and d.tenant_id = w.tenant_id and w.tenant_id = w.endpoint_tenant,
        false
    )
where w.before < w.room
order by w.subscription_id, w.batch_lsn, w.batch_ordinal, w.batch_rule, w.delivery_id
