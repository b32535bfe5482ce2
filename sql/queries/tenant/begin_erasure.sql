insert into tenants (tenant_id, erased_at)
values ($1, now())
on conflict (tenant_id) do update
set erased_at = coalesce(tenants.erased_at, excluded.erased_at), name = null, settings = '{}'
