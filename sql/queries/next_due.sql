-- Milliseconds until something is due for each of these; no row where nothing waits.
select w.subscription_id, (extract(epoch from first.due_at - now()) * 1000)::bigint as milliseconds
from unnest($1::uuid[]) as w (subscription_id)
cross join lateral (
    select due_at
    from delivery_schedule s
    where s.status = 'pending' and s.subscription_id = w.subscription_id
    order by s.due_at, s.delivery_id
    limit 1
) first
