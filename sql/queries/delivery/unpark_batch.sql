-- So many at most. What was open is open again; of a batch that was closed before, the whole
-- is due. One that was disabled meanwhile makes nothing due.
with enabled as (
    select id from webhook_subscriptions where id = $1 and active for share
),
waiting as materialized (
    select found.delivery_id
    from enabled e
    cross join lateral (
        select s.delivery_id
        from delivery_schedule s
        where s.status = 'parked' and s.subscription_id = e.id and s.parked_reason = 'disabled'
        limit $2
        for update
    ) found
)
update delivery_schedule s
set status = case when body_bytes is not null and batch_id is null then 'open' else 'pending' end,
    parked_reason = null, due_at = now()
from waiting w
where s.delivery_id = any (array[w.delivery_id])
