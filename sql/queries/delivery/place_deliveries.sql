-- Gives what has none its place in its row's order; answers how far it came.
with unplaced as materialized (
    select delivery_id, tenant_id
    from delivery_schedule
    where subscription_id = $1 and delivery_id > $2 and order_key is null
    order by delivery_id
    limit $3
),
placed as (
    update delivery_schedule s
    set order_key = hashtextextended(e.row_key, 0), commit_lsn = e.commit_lsn,
        ordinal = e.ordinal, rule_index = e.rule_index
    from unplaced u
    join webhook_deliveries d on d.id = any (array[u.delivery_id])
        and coalesce(d.tenant_id = u.tenant_id, false)
    join webhook_events e on e.id = any (array[d.event_id])
        and coalesce(e.tenant_id = d.tenant_id, false)
    where s.delivery_id = any (array[u.delivery_id]) and e.row_key <> ''
)
select delivery_id from unplaced order by delivery_id desc limit 1
