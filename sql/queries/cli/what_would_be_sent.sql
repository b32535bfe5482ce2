-- Deliveries that this store would send once it is in use: those in the schedule, and those
-- that an instance had in memory, which the next one takes over. A closed batch is a row
-- beside those of what is in it: these are counted, by what becomes of it.
select
    (select count(*) from delivery_schedule
        where status in ('pending', 'held', 'open') and batch_id is distinct from delivery_id)
    + (select count(*) from delivery_schedule batched
        join delivery_schedule batch on batch.delivery_id = any (array[batched.batch_id])
        where batched.status = 'batched' and batch.status = 'pending') as scheduled,
    (select count(*) from webhook_deliveries
        where id >= (select low_water from instances order by low_water limit 1) and owner is not null
            and status = 'pending') as in_memory,
    (select count(*) from webhook_subscriptions where active) as subscriptions,
    (select extract(epoch from now() - max(heartbeat_at))::float8 from instances) as silent_seconds
