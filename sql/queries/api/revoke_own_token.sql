update api_tokens set revoked_at = now()
where id = $1 and tenant_id = current_tenant() and revoked_at is null
returning name
