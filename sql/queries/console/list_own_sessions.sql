select id, actor, capabilities, created_at, seen_at, expires_at
from portal_sessions
where tenant_id = current_tenant() and revoked_at is null and expires_at > now()
    and seen_at + make_interval(secs => $1) > now()
order by id desc
limit 200
