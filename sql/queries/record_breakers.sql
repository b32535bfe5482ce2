update webhook_subscriptions s
set breaker = b.state
from unnest($1::uuid[], $2::text[]) as b (id, state)
where s.id = b.id
