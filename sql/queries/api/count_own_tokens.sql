select count(*) from api_tokens
where tenant_id = current_tenant() and revoked_at is null
    and (expires_at is null or expires_at > now())
