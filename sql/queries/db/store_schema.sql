-- From the catalog: to_regclass fails where the schema may not be used. A table named
-- `store` may be the application's; with this column it is ours.
select
    exists (
        select
        from pg_class as class
        join pg_namespace as namespace on namespace.oid = class.relnamespace
        join pg_attribute as attribute on attribute.attrelid = class.oid
        where namespace.nspname = $1
            and class.relname = 'store'
            and attribute.attname = 'schema_sha256'
    ) as has_fingerprint,
    exists (
        select
        from pg_class as class
        join pg_namespace as namespace on namespace.oid = class.relnamespace
        where namespace.nspname = $1
            and class.relname in ('replication_progress', 'webhook_subscriptions')
    ) as has_tables
