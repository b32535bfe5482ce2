-- So many of each given subscription, behind what was claimed of it last. The limit
-- stands in a CTE with FOR UPDATE SKIP LOCKED inside: otherwise the planner may update
-- more rows than the limit. While leased, due_at is the lease's end, so an expired lease
-- is simply due again.
with wanted as materialized (
    select subscription_id, room, coalesce(after_due, '-infinity') as after_due,
        coalesce(after_id, '00000000-0000-0000-0000-000000000000') as after_id
    from unnest($3::uuid[], $4::int4[], $5::timestamptz[], $6::uuid[])
        as w (subscription_id, room, after_due, after_id)
),
due as materialized (
    select w.subscription_id, found.*
    from wanted w
    cross join lateral (
        select s.delivery_id, s.due_at, s.batch_id, s.body_bytes
        from delivery_schedule s
        where s.status = 'pending' and s.subscription_id = w.subscription_id
            and s.due_at <= now()
            and (s.due_at, s.delivery_id) > (w.after_due, w.after_id)
        order by s.due_at, s.delivery_id
        limit w.room
        for update skip locked
    ) found
),
met as materialized (
    select due.subscription_id, due.delivery_id, due.due_at, due.batch_id, d.event_id,
        d.event_type, d.format, d.attempts, e.body, e.occurred_at,
        d.status = 'pending' and d.owner is null as ours,
        case when due.batch_id is null then coalesce(octet_length(e.body), 0)
            else due.body_bytes end as bytes,
        row_number() over (partition by due.subscription_id order by due.due_at, due.delivery_id)
            as place
    from due
    left join webhook_deliveries d on d.id = due.delivery_id
    left join webhook_events e on e.id = d.event_id
),
-- Only what fits into memory is leased, a lane's large bodies not before another's small
-- ones: the rest stays due. A row whose event is gone weighs nothing, and is leased, so
-- that it is not met again at once.
weighed as materialized (
    select met.*,
        sum(bytes) over (order by place, subscription_id) - bytes as before,
        sum(bytes) over (partition by subscription_id order by place) - bytes as before_in_lane
    from met
)
update delivery_schedule s
set lease_owner = $1, due_at = now() + make_interval(secs => $2)
from weighed w
where s.delivery_id = w.delivery_id and w.before < $7 and w.before_in_lane < $8
returning w.subscription_id, w.place, w.due_at, w.delivery_id as id, w.batch_id, w.event_id,
    w.event_type, w.format, w.attempts, w.body, w.bytes, w.occurred_at,
    w.body is not null and w.ours as ours
