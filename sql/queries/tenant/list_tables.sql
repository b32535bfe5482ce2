-- All that have rows of tenants, of partitioned ones their days: first what brings more of them.
-- The audit log and the list of tenants are treated apart.
select c.relname::text as name,
    pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::bigint as blocks
from pg_catalog.pg_class c
join pg_catalog.pg_attribute a on a.attrelid = c.oid
where c.relnamespace = (
        select oid from pg_catalog.pg_namespace where nspname = pg_catalog.current_schema()
    )
    and c.relkind = 'r' and a.attname = 'tenant_id' and not a.attisdropped
    and c.relname not in ('audit_log', 'tenants')
order by c.relname = 'api_tokens' desc, c.relname = 'webhook_subscriptions' desc, c.relname
