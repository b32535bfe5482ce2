-- In the order that they are given, so that two that see the same never wait for each other.
insert into tenants (tenant_id)
select tenant_id from unnest($1::text[]) with ordinality as seen (tenant_id, place)
-- Of one that is there its row is read, which waits for no lock on it.
where not exists (select from tenants t where t.tenant_id = any (array[seen.tenant_id]))
order by place
on conflict do nothing
