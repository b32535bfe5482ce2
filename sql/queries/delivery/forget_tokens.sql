-- Until then lists say why a token is refused. A tenant is known by its newest.
delete from api_tokens
where ctid = any (array(
    select ctid from api_tokens t
    where least(expires_at, revoked_at) < $1::timestamptz - interval '30 days'
        and exists (select from api_tokens k where k.tenant_id = t.tenant_id and k.id > t.id)
    limit $2
))
