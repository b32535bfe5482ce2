select hash, id, name, tenant_id, extract(epoch from expires_at - now())::float8 as expires_in,
    coalesce(last_used_at > now() - interval '1 minute', false) as is_noted
from api_tokens
where hash = any ($1) and revoked_at is null and (expires_at is null or expires_at > now())
