-- What batches consist of, in the order in which it is sent. The limit, which none has
-- beyond, keeps the planner from reading all batches at once.
select m.batch_id, m.delivery_id as id, d.event_id, d.event_type, d.tenant_id, d.format,
    d.attempts, e.body, e.occurred_at
from unnest($1::uuid[]) as batch (id)
cross join lateral (
    select s.batch_id, s.delivery_id, s.batch_lsn, s.batch_ordinal, s.batch_rule
    from delivery_schedule s
    where s.batch_id = batch.id and s.delivery_id <> s.batch_id
    order by s.batch_lsn, s.batch_ordinal, s.batch_rule, s.delivery_id
    limit 1000
) m
join webhook_deliveries d on d.id = any (array[m.delivery_id])
join webhook_events e on e.id = any (array[d.event_id])
order by m.batch_id, m.batch_lsn, m.batch_ordinal, m.batch_rule, m.delivery_id
