-- From the catalog: to_regclass fails where the schema may not be used.
select
    count(*) = 2 as started,
    -- Whose tables they are, where we do not have that role's rights.
    min(pg_get_userbyid(class.relowner)::text) filter (
        where not pg_has_role(current_user, class.relowner, 'usage')
    ) as foreign_owner
from pg_class as class
join pg_namespace as namespace on namespace.oid = class.relnamespace
where namespace.nspname = $1 and class.relname in ('replication_progress', 'webhook_subscriptions')
