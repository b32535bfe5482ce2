select
    rolname::text as name,
    rolsuper as superuser,
    rolreplication as replication,
    -- Amazon RDS gives the right through a role.
    exists (
        select from pg_roles as granted
        where granted.rolname = 'rds_replication' and pg_has_role(current_user, granted.oid, 'member')
    ) as rds_replication,
    exists (select from pg_roles where rolname = 'rds_replication') as on_rds,
    has_database_privilege(current_database(), 'create') as may_create
from pg_roles
where rolname = current_user
