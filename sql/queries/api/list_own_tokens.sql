select id, name, manages_tokens, created_at, created_by_kind, created_by, created_by_actor,
    last_used_at, last_used_from, expires_at, revoked_at,
    coalesce(expires_at <= now(), false) as expired
from api_tokens
where tenant_id = current_tenant() and id < $1
order by id desc
limit $2
