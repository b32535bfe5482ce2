-- Of filters that have not been changed since. The trigger that raises the generation sees
-- no change.
update webhook_subscriptions s
set filter_error = failed.reason,
    filter_failed_at = now(),
    filter_failures = s.filter_failures + failed.count
from (
    select id, source, reason, count
    from unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[])
        as failed (id, source, reason, count)
    order by id
) failed
where s.id = any (array[failed.id]) and s.filter = failed.source
