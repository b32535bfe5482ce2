-- The session that calls, while it is open: locked, as a token that calls is.
select null::timestamptz as expires_at from portal_sessions
where id = $1 and tenant_id = current_tenant() and revoked_at is null and expires_at > now()
    and 'tokens' = any (capabilities)
for share
