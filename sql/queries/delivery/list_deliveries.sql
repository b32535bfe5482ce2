-- The page first, then its few rows of the schedule. What is in a batch waits as that does.
-- A tenant's newest are the newest of its subscriptions', each by its own walk of the index,
-- of events from $5 on and after a place ($6, $7). $1 and $2 say which days to look into.
select d.*, coalesce(s.batch_id, d.batch_id) as shown_batch, coalesce(b.status, s.status) as waits,
    coalesce(b.parked_reason, s.parked_reason) as parked_reason, coalesce(b.due_at, s.due_at) as due_at,
    coalesce(coalesce(b.lease_owner, s.lease_owner) is not null
        and coalesce(b.leased_until, s.leased_until) > now(), false) as leased
from (
    select newest.*
    from (
        select id from webhook_subscriptions
        union all
        select subscription_id from deleted_subscriptions
    ) own
    cross join lateral (
        select *
        from webhook_deliveries w
        where w.subscription_id = own.id
            and w.id >= $1 and w.id < $2
            and w.event_id >= $5 and (w.event_id, w.id) < ($6, $7)
        order by w.event_id desc, w.id desc
        limit $4
    ) newest
    where $3::uuid is null or own.id = $3
    order by newest.event_id desc, newest.id desc
    limit $4
) d
left join delivery_schedule s on s.delivery_id = any (array[d.id])
left join delivery_schedule b on b.delivery_id = any (array[s.batch_id])
order by d.event_id desc, d.id desc
