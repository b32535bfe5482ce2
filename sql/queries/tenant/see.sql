-- In the order that they are given, so that two that see the same never wait for each other.
insert into tenants (tenant_id)
select tenant_id from unnest($1::text[]) with ordinality as seen (tenant_id, place)
order by place
on conflict do nothing
