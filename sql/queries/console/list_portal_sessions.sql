-- Those that are open, of all tenants ($1 null) or of one.
select id, link_id, tenant_id, actor, capabilities, created_at, seen_at, expires_at
from portal_sessions
where revoked_at is null and expires_at > now() and seen_at + make_interval(secs => $2) > now()
    and ($1::text is null or tenant_id = $1)
order by id
