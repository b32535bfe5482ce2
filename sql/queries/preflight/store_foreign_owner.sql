-- The owner of the store's tables, where we do not have that role's rights. From the
-- catalog: to_regclass fails where the schema may not be used.
select
    current_user::text as name,
    min(pg_get_userbyid(class.relowner)::text) filter (
        where not pg_has_role(current_user, class.relowner, 'usage')
    ) as foreign_owner
from pg_class as class
join pg_namespace as namespace on namespace.oid = class.relnamespace
where namespace.nspname = $1 and class.relname in ('replication_progress', 'webhook_subscriptions')
