select id, tenant_id, name, created_at, expires_at, revoked_at,
    coalesce(expires_at <= now(), false) as expired
from api_tokens
where $1::text is null or tenant_id = $1
order by id
