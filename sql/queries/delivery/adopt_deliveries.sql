-- Moves what an instance owns into the schedule: of the given deliveries ($3), or by a range scan
-- of the primary key from its low water on, a thousand rows at a time. Returns the last row that
-- was moved, where the next range begins; no row at the end.
with orphan as materialized (
    (select id
    from webhook_deliveries
    where $3::uuid[] is null and id > $2 and owner = $1
    order by id
    limit 1000)
    union all
    select unnest($3)
),
disowned as (
    update webhook_deliveries d
    set owner = null, next_attempt_at = now()
    from orphan o
    where d.id = any (array[o.id]) and d.owner = $1
    returning d.id, d.subscription_id, d.tenant_id, d.event_type
),
scheduled as (
    insert into delivery_schedule
        (delivery_id, subscription_id, tenant_id, event_type, status, due_at)
    select id, subscription_id, tenant_id, event_type, 'pending', now()
    from disowned
    on conflict (delivery_id) do nothing
)
select id, count(*) over () from disowned order by id desc limit 1
