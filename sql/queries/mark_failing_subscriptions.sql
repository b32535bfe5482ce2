-- The first failure counts, whichever instance saw it.
update webhook_subscriptions s
set failing_since = coalesce(s.failing_since, f.since)
from unnest($1::uuid[], $2::timestamptz[]) as f (id, since)
where s.id = any (array[f.id]) and s.active
returning s.id, s.failing_since
