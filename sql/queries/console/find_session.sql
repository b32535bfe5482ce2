-- A session by the hash of its cookie ($1), and why it has ended, where it has: $2 seconds
-- without a request end it too. What is used ($3: a page that asks by itself is no use) is noted
-- twice a minute at most.
with found as (
    select id, tenant_id, actor, capabilities, created_at, seen_at, expires_at,
        case
            when revoked_at is not null then 'revoked'
            when expires_at <= now() then 'expired'
            when seen_at + make_interval(secs => $2) <= now() then 'idle'
        end as ended,
        coalesce(revoked_at, least(expires_at, seen_at + make_interval(secs => $2))) as ends_at
    from portal_sessions
    where cookie_hash = $1
), noted as (
    update portal_sessions s set seen_at = now()
    from found f
    where $3 and s.id = f.id and f.ended is null and f.seen_at < now() - interval '30 seconds'
)
select *, extract(epoch from expires_at - now())::float8 as expires_in from found
