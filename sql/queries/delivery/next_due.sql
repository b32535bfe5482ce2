-- Milliseconds until something is due for each of these; no row where nothing waits. What
-- is leased stands before what waits, and is due when its lease ends.
select w.subscription_id,
    (extract(epoch from case
        when first.lease_owner is null then first.due_at
        else least(first.leased_until, (
            select s.due_at
            from delivery_schedule s
            where s.status = 'pending' and s.subscription_id = w.subscription_id
                and s.lease_owner is null
            order by s.due_at, s.delivery_id
            limit 1
        ))
    end - now()) * 1000)::bigint as milliseconds
from unnest($1::uuid[]) as w (subscription_id)
cross join lateral (
    select s.due_at, s.lease_owner, s.leased_until
    from delivery_schedule s
    where s.status = 'pending' and s.subscription_id = w.subscription_id
    order by s.due_at, s.delivery_id
    limit 1
) first
