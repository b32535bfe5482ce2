-- So many of each given subscription, after what was claimed of it last. The limit
-- stands in a CTE with FOR UPDATE SKIP LOCKED inside: otherwise the planner may update
-- more rows than the limit. An expired lease counts as none.
--
-- What is sent is one tenant's throughout: row, delivery, event and endpoint. Whatever is not
-- is leased as if its event were gone, so that it is not met again at once. That is hidden from
-- the planner (coalesce): by an equality it might walk another index than the key's.
with wanted as materialized (
    select w.subscription_id, w.room, coalesce(w.after_due, '-infinity') as after_due,
        coalesce(w.after_id, '00000000-0000-0000-0000-000000000000') as after_id,
        -- Of an ordered one more are looked at, as most may wait for others of their row.
        case s.ordering when 'row' then greatest(w.room, 1000 / count(*) over ()) else w.room end
            as examined,
        coalesce(s.ordering_settled, true) as settled, s.tenant_id as endpoint_tenant
    from unnest($3::uuid[], $4::int4[], $5::timestamptz[], $6::uuid[])
        as w (subscription_id, room, after_due, after_id)
    left join webhook_subscriptions s on s.id = any (array[w.subscription_id])
    where not coalesce(s.ordering = 'row' and not s.deliveries_settled, false)
),
due as (
    select w.subscription_id, w.room, w.settled, w.endpoint_tenant, found.*
    from wanted w
    cross join lateral (
        select s.delivery_id, s.tenant_id, s.due_at, s.batch_id, s.body_bytes, s.order_key, s.commit_lsn,
            s.ordinal, s.rule_index, s.trigger, s.actor
        from delivery_schedule s
        where s.status = 'pending' and s.subscription_id = w.subscription_id
            and s.due_at <= now() and (s.lease_owner is null or s.leased_until <= now())
            and (s.due_at, s.delivery_id) > (w.after_due, w.after_id)
        order by s.due_at, s.delivery_id
        limit w.examined
        for update skip locked
    ) found
),
judged as materialized (
    select due.*, due.order_key is not null and (not settled or exists (
            select from delivery_schedule e
            where e.subscription_id = due.subscription_id and e.order_key = due.order_key
                and e.status in ('pending', 'held') and coalesce(e.tenant_id = due.tenant_id, false)
                and (e.commit_lsn, e.ordinal, e.rule_index, e.delivery_id)
                    < (due.commit_lsn, due.ordinal, due.rule_index, due.delivery_id)
        )) as waits
    from due
),
-- Whoever ends what is waited for lets go of those that are held behind it. It is locked
-- against ending while they come to be held; where it is ending already they are left to
-- the next claim.
unsettled as materialized (
    select s.id
    from (select distinct subscription_id from judged where not settled and waits) w
    join webhook_subscriptions s on s.id = any (array[w.subscription_id])
    where not s.ordering_settled
    for share of s skip locked
),
behind as materialized (
    select j.delivery_id
    from judged j
    cross join lateral (
        select e.delivery_id
        from delivery_schedule e
        where e.subscription_id = j.subscription_id and e.order_key = j.order_key
            and e.status in ('pending', 'held') and coalesce(e.tenant_id = j.tenant_id, false)
            and (e.commit_lsn, e.ordinal, e.rule_index, e.delivery_id)
                < (j.commit_lsn, j.ordinal, j.rule_index, j.delivery_id)
        order by e.commit_lsn, e.ordinal, e.rule_index, e.delivery_id
        limit 1
        for share skip locked
    ) first
    where j.waits and j.settled
    union all
    select j.delivery_id
    from judged j
    join unsettled u on u.id = j.subscription_id
    where j.waits
),
held as (
    update delivery_schedule s
    set status = 'held', lease_owner = null
    from behind b
    where s.delivery_id = any (array[b.delivery_id])
    returning s.subscription_id, s.delivery_id, s.due_at
),
placed as (
    select j.*, row_number() over (partition by subscription_id order by due_at, delivery_id) as place
    from judged j
    where not waits
),
met as (
    select p.subscription_id, p.delivery_id, p.due_at, p.place, p.batch_id, p.trigger, p.actor, d.event_id,
        d.event_type, d.format, d.attempts, e.body, e.occurred_at,
        d.status = 'pending' and d.owner is null and p.tenant_id = p.endpoint_tenant as ours,
        case when p.batch_id is null then coalesce(octet_length(e.body), 0)
            else p.body_bytes end as bytes
    from placed p
    left join webhook_deliveries d on d.id = any (array[p.delivery_id])
        and coalesce(d.tenant_id = p.tenant_id and d.subscription_id = p.subscription_id, false)
    left join webhook_events e on e.id = any (array[d.event_id])
        and coalesce(e.tenant_id = d.tenant_id, false)
    where p.place <= p.room
),
-- Only what fits into memory is leased, a lane's large bodies not before another's small
-- ones: the rest stays due. A row whose event is gone weighs nothing, and is leased, so
-- that it is not met again at once.
weighed as materialized (
    select met.*,
        sum(bytes) over (order by place, subscription_id) - bytes as before,
        sum(bytes) over (partition by subscription_id order by place) - bytes as before_in_lane
    from met
),
leased as (
    update delivery_schedule s
    set lease_owner = $1, leased_until = now() + make_interval(secs => $2)
    from weighed w
    where s.delivery_id = any (array[w.delivery_id]) and w.before < $7 and w.before_in_lane < $8
    returning w.subscription_id, w.place, w.due_at, w.delivery_id as id, w.batch_id, w.event_id,
        w.event_type, w.format, w.attempts, w.body, w.bytes, w.occurred_at,
        w.body is not null and w.ours as ours, w.trigger, w.actor
)
select *, false as held from leased
union all
select subscription_id, 0, due_at, delivery_id, null, null, null, null, null, null, 0, null, false,
    null, null, true
from held
