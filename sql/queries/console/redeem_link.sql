-- One update decides who of several that hold the code opens the session.
with redeemed as (
    update portal_links set redeemed_at = now()
    where code_hash = $1 and redeemed_at is null and revoked_at is null and expires_at > now()
    returning id, tenant_id, actor, capabilities, next_path, session_ttl
), opened as (
    insert into portal_sessions
        (id, link_id, tenant_id, cookie_hash, actor, capabilities, expires_at)
    select $2, id, tenant_id, $3, actor, capabilities, now() + session_ttl
    from redeemed
)
select next_path, extract(epoch from session_ttl)::float8 as lasts from redeemed
