-- Of one event ($1) the newest deliveries, at most $5, to each of these subscriptions ($2). $3 and
-- $4 say which day to look into.
select d.*, coalesce(s.batch_id, d.batch_id) as shown_batch, coalesce(b.status, s.status) as waits,
    coalesce(b.parked_reason, s.parked_reason) as parked_reason, coalesce(b.due_at, s.due_at) as due_at,
    coalesce(coalesce(b.lease_owner, s.lease_owner) is not null
        and coalesce(b.leased_until, s.leased_until) > now(), false) as leased
from unnest($2::uuid[]) as own (id)
cross join lateral (
    select * from webhook_deliveries w
    where w.subscription_id = own.id and w.event_id = $1 and w.id >= $3 and w.id < $4
    order by w.created_at desc, w.id desc
    limit $5
) d
left join delivery_schedule s on s.delivery_id = any (array[d.id])
left join delivery_schedule b on b.delivery_id = any (array[s.batch_id])
order by d.created_at desc, d.id desc
