-- The limit stands in a CTE with FOR UPDATE SKIP LOCKED inside: otherwise the planner
-- may update more rows than the limit. While leased, due_at is the lease's end, so an
-- expired lease is simply due again.
with due as materialized (
    select delivery_id, due_at
    from delivery_schedule
    where status = 'pending' and due_at <= now() and subscription_id <> all($3)
    order by due_at
    limit $2
    for update skip locked
),
-- Only what fits into memory is leased: the rest stays due. A row whose event is gone
-- weighs nothing, and is leased, so that it is not met again at once.
weighed as materialized (
    select due.delivery_id,
        sum(octet_length(e.body)) over (order by due.due_at, due.delivery_id)
            - octet_length(e.body) as before
    from due
    left join webhook_deliveries d on d.id = due.delivery_id
    left join webhook_events e on e.id = d.event_id
),
leased as (
    update delivery_schedule s
    set lease_owner = $1, due_at = now() + make_interval(secs => $4)
    from weighed w
    where s.delivery_id = w.delivery_id and coalesce(w.before, 0) < $5
    returning s.delivery_id
)
select d.id, d.event_id, d.subscription_id, d.event_type, d.format, d.attempts,
    e.body, e.occurred_at
from leased l
join webhook_deliveries d on d.id = l.delivery_id
join webhook_events e on e.id = d.event_id
where d.status = 'pending' and d.owner is null
