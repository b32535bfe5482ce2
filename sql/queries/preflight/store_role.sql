-- What the store's role may do; $1 is the store's schema, $2 the tenant role. From 16 on a
-- membership may exist without the right to `set role`, which is the one that counts.
select
    current_setting('server_version_num')::integer as version_number,
    current_setting('server_encoding') as encoding,
    pg_is_in_recovery() as in_recovery,
    current_database()::text as database,
    role.rolname::text as name,
    role.rolsuper as superuser,
    role.rolbypassrls as bypasses_rls,
    role.rolsuper or role.rolcreaterole as may_create_role,
    has_database_privilege(current_database(), 'create') as may_create_schema,
    namespace.oid is not null as schema_exists,
    coalesce(has_schema_privilege(namespace.oid, 'create'), false) as may_create_in_schema,
    tenant.oid is not null as tenant_role_exists,
    coalesce(tenant.rolcanlogin or tenant.rolsuper or tenant.rolbypassrls, false)
        as tenant_role_may_too_much,
    coalesce(
        pg_has_role(
            current_user, tenant.oid,
            case when current_setting('server_version_num')::integer >= 160000 then 'set' else 'member' end
        ),
        false
    ) as may_become_tenant,
    array(
        select other.rolname::text
        from pg_roles as other
        where not other.rolsuper and other.oid <> role.oid
            and pg_has_role(
                other.oid, role.oid,
                case when current_setting('server_version_num')::integer >= 160000 then 'set, usage'
                    else 'member' end
            )
        order by other.rolname
    ) as members
from pg_roles as role
left join pg_namespace as namespace on namespace.nspname = $1
left join pg_roles as tenant on tenant.rolname = $2
where role.rolname = current_user
