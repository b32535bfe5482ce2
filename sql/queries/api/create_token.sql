insert into api_tokens (id, tenant_id, name, hash, expires_at)
values ($1, $2, $3, $4, now() + make_interval(secs => $5))
