select tenant_id, redeemed_at, revoked_at, expires_at,
    redeemed_at is null and revoked_at is null and expires_at > now() as is_open
from portal_links
where code_hash = $1
