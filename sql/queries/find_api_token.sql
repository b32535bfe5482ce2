select tenant_id, expires_at
from api_tokens
where hash = $1 and revoked_at is null and (expires_at is null or expires_at > now())
