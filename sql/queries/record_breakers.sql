-- Of a subscription that another sends to by now this instance knows nothing any more.
update webhook_subscriptions s
set breaker = b.state, breaker_instance = case when b.state <> 'closed' then $3::uuid end
from unnest($1::uuid[], $2::text[]) as b (id, state)
where s.id = b.id
    and exists (select from subscription_leases l where l.subscription_id = s.id and l.instance = $3)
