select distinct tenant_id
from api_tokens
where revoked_at is null and (expires_at is null or expires_at > now())
