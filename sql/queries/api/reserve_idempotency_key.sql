-- http_status 0: in progress. A key may be used again a day later.
insert into idempotency_keys (tenant_id, key, request_hash, response, http_status)
values ($1, $2, $3, '', 0)
on conflict (tenant_id, key) do update
set request_hash = excluded.request_hash, response = '', http_status = 0, created_at = now()
where idempotency_keys.created_at < now() - interval '24 hours'
