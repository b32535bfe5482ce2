-- Who may create in the schema $1 besides us and superusers: the name of each grantee, null
-- for PUBLIC, and the owner, who may whatever is granted. The database's owner stands for
-- pg_database_owner, to which `public` belongs from 15 on.
select distinct grantee.rolname::text as grantee, coalesce(acl.grantee = namespace.nspowner, false) as is_owner
from pg_namespace as namespace
cross join lateral (
    select grantee, privilege_type
    from aclexplode(coalesce(namespace.nspacl, acldefault('n', namespace.nspowner)))
    union
    select namespace.nspowner, 'CREATE'
) as acl
left join pg_roles as grantee on grantee.oid = acl.grantee
where namespace.nspname = $1 and acl.privilege_type = 'CREATE'
    and not coalesce(grantee.rolsuper or grantee.rolname = current_user, false)
    and not coalesce(grantee.rolname = 'pg_database_owner' and exists (
        select
        from pg_database as database
        join pg_roles as owner on owner.oid = database.datdba
        where database.datname = current_database()
            and (owner.rolsuper or owner.rolname = current_user)
    ), false)
order by 1 nulls first
