-- Of a subscription that another sends to by now this instance knows nothing any more.
-- Whose the lease is, is hidden from the planner (coalesce): it would walk all that the
-- instance has.
update webhook_subscriptions s
set breaker = b.state, breaker_instance = case when b.state <> 'closed' then $3::uuid end
from unnest($1::uuid[], $2::text[]) as b (id, state)
join subscription_leases l on l.subscription_id = any (array[b.id])
where s.id = any (array[b.id]) and coalesce(l.instance = $3, false)
