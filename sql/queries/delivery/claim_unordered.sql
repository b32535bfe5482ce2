-- As claim_due, for lanes that wait for no order: it is planned and carried out in less
-- time. What is ordered is left to that one, should a subscription have become so
-- meanwhile. A row is updated where it was locked, without being looked up again; one that
-- has moved stays due.
with due as (
    select w.subscription_id, endpoint.tenant_id as endpoint_tenant, found.*
    from unnest($3::uuid[], $4::int4[], $5::timestamptz[], $6::uuid[])
        as w (subscription_id, room, after_due, after_id)
    left join webhook_subscriptions endpoint on endpoint.id = any (array[w.subscription_id])
    cross join lateral (
        select s.ctid as row_version, s.delivery_id, s.tenant_id, s.due_at, s.batch_id, s.body_bytes,
            s.trigger, s.actor
        from delivery_schedule s
        where s.status = 'pending' and s.subscription_id = w.subscription_id
            and s.due_at <= now() and (s.lease_owner is null or s.leased_until <= now())
            and (s.due_at, s.delivery_id) > (w.after_due, w.after_id)
            and s.order_key is null
        order by s.due_at, s.delivery_id
        limit w.room
        for update skip locked
    ) found
),
met as (
    select due.*, d.event_id, d.event_type, d.format, d.attempts, e.body, e.occurred_at,
        d.status = 'pending' and d.owner is null and due.tenant_id = due.endpoint_tenant as ours,
        case when due.batch_id is null then coalesce(octet_length(e.body), 0)
            else due.body_bytes end as bytes
    from due
    left join webhook_deliveries d on d.id = any (array[due.delivery_id])
        and coalesce(d.tenant_id = due.tenant_id and d.subscription_id = due.subscription_id, false)
    left join webhook_events e on e.id = any (array[d.event_id])
        and coalesce(e.tenant_id = d.tenant_id, false)
),
placed as (
    select met.*, row_number() over lane as place, sum(bytes) over lane - bytes as before_in_lane
    from met
    window lane as (partition by subscription_id order by due_at, delivery_id
        rows unbounded preceding)
),
weighed as (
    select placed.*,
        sum(bytes) over (order by place, subscription_id rows unbounded preceding) - bytes as before
    from placed
)
update delivery_schedule s
set lease_owner = $1, leased_until = now() + make_interval(secs => $2)
from weighed w
where s.ctid = w.row_version and s.delivery_id = any (array[w.delivery_id])
    and w.before < $7 and w.before_in_lane < $8
returning w.subscription_id, w.place, w.due_at, w.delivery_id as id, w.batch_id, w.event_id,
    w.event_type, w.format, w.attempts, w.body, w.bytes, w.occurred_at,
    w.body is not null and w.ours as ours, w.trigger, w.actor, false as held
