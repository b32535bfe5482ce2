-- The token that calls, while it may make and revoke tokens: locked, so that one that is revoked
-- makes no other, whatever the instances remember.
select expires_at from api_tokens
where id = $1 and tenant_id = current_tenant() and manages_tokens and revoked_at is null
    and (expires_at is null or expires_at > now())
for share
