insert into api_tokens (id, tenant_id, name, hash, expires_at, manages_tokens,
    created_by_kind, created_by, created_by_actor)
values ($1, $2, $3, $4, coalesce($5, now() + make_interval(secs => $6)), $7, $8, $9, $10)
returning created_at
