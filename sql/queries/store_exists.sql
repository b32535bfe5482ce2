-- From the catalog: to_regclass fails where the schema may not be used.
select exists (
    select
    from pg_class as class
    join pg_namespace as namespace on namespace.oid = class.relnamespace
    where namespace.nspname = $1 and class.relname = 'refinery_schema_history'
)
