insert into portal_links
    (id, tenant_id, code_hash, actor, capabilities, next_path, session_ttl, expires_at)
values ($1, $2, $3, $4, $5, $6, make_interval(secs => $7), now() + make_interval(secs => $8))
returning expires_at
