-- For whom deliveries wait for their batch to close, and the milliseconds until one does;
-- null where the subscription wants no batches any more. Of each no more is read than one
-- batch may hold.
with recursive waiting as (
    (select subscription_id
    from delivery_schedule
    where status = 'open'
    order by subscription_id, batch_lsn, batch_ordinal, batch_rule, delivery_id
    limit 1)
    union all
    select next.*
    from waiting w
    cross join lateral (
        select s.subscription_id
        from delivery_schedule s
        where s.status = 'open' and s.subscription_id > w.subscription_id
        order by s.subscription_id, s.batch_lsn, s.batch_ordinal, s.batch_rule, s.delivery_id
        limit 1
    ) next
)
select w.subscription_id,
    case
        when head.events >= rule.max_events or head.bytes >= rule.max_bytes then 0
        else (extract(epoch from head.oldest - now()) * 1000)::bigint + rule.max_wait
    end as milliseconds
from waiting w
left join unnest($1::uuid[], $2::int4[], $3::int8[], $4::int8[])
    as rule (subscription_id, max_events, max_bytes, max_wait) using (subscription_id)
cross join lateral (
    select count(*) as events, sum(body_bytes) as bytes, min(due_at) as oldest
    from (
        select s.body_bytes, s.due_at
        from delivery_schedule s
        where s.status = 'open' and s.subscription_id = w.subscription_id
        order by s.batch_lsn, s.batch_ordinal, s.batch_rule, s.delivery_id
        limit coalesce(rule.max_events, 1)
    ) first
) head
