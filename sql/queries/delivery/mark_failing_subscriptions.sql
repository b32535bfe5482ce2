-- The first failure counts, whichever instance saw it: so many seconds ago.
update webhook_subscriptions s
set failing_since = coalesce(s.failing_since, clock_timestamp() - make_interval(secs => f.ago)),
    failing_reason = case when s.failing_since is null then f.reason else s.failing_reason end
from unnest($1::uuid[], $2::float8[], $3::text[]) as f (id, ago, reason)
where s.id = any (array[f.id]) and s.active
returning s.id, extract(epoch from clock_timestamp() - s.failing_since)::float8
