-- The endpoints of the tenant beside one event, below an id ($2), at most $3: what decides whether
-- each was to get it.
select s.id, s.url, s.description, s.events, s.filter, s.active, s.disabled_at, s.created_at,
    s.from_lsn > e.commit_lsn as begins_later,
    coalesce((e.commit_lsn, e.ordinal) > (s.disabled_after_lsn, s.disabled_after_ordinal), false)
        as after_disabling
from webhook_events e
cross join webhook_subscriptions s
where e.id = $1 and s.tenant_id = e.tenant_id and s.id < $2
order by s.id desc
limit $3
