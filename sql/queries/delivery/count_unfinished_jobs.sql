select count(*) from jobs where tenant_id = current_tenant() and finished_at is null
