select id, tenant_id, name, created_at, expires_at, revoked_at
from api_tokens
where $1::text is null or tenant_id = $1
order by id
