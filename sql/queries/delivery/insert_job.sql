insert into jobs (id, tenant_id, kind, request, subscription_id, from_id, to_id, total, max_per_second,
    actor)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
