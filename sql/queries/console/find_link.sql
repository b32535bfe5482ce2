select tenant_id, redeemed_at, revoked_at, expires_at from portal_links where code_hash = $1
