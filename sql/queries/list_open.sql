-- For whom deliveries wait for their batch to close, and the milliseconds until one does;
-- null where the subscription wants no batches any more. Of a batch that cannot be full no
-- more is read than it has.
with recursive waiting as (
    (select subscription_id, due_at
    from delivery_schedule
    where status = 'open'
    order by subscription_id, due_at, delivery_id
    limit 1)
    union all
    select next.*
    from waiting w
    cross join lateral (
        select s.subscription_id, s.due_at
        from delivery_schedule s
        where s.status = 'open' and s.subscription_id > w.subscription_id
        order by s.subscription_id, s.due_at, s.delivery_id
        limit 1
    ) next
)
select w.subscription_id,
    case
        when head.events >= rule.max_events or head.bytes >= rule.max_bytes then 0
        else (extract(epoch from w.due_at - now()) * 1000)::bigint + rule.max_wait
    end as milliseconds
from waiting w
left join unnest($1::uuid[], $2::int4[], $3::int8[], $4::int8[])
    as rule (subscription_id, max_events, max_bytes, max_wait) using (subscription_id)
left join lateral (
    select count(*) as events, sum(body_bytes) as bytes
    from (
        select s.body_bytes
        from delivery_schedule s
        where s.status = 'open' and s.subscription_id = w.subscription_id
        order by s.batch_lsn, s.batch_ordinal, s.batch_rule, s.delivery_id
        limit coalesce(rule.max_events, 0)
    ) first
) head on true
