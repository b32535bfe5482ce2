-- The databases in which the role $1 owns something or was granted something, but for the
-- schema $2 of this one. What is in others can be counted and not named.
select distinct coalesce(database.datname::text, 'all databases') as database
from pg_shdepend as use
join pg_roles as role on role.oid = use.refobjid
left join pg_database as database on database.oid = use.dbid
where use.refclassid = 'pg_authid'::regclass and role.rolname = $1
    and use.classid <> 'pg_auth_members'::regclass
    and not (
        coalesce(database.datname = current_database(), false)
        and use.classid = 'pg_namespace'::regclass
        and use.objid in (select oid from pg_namespace where nspname = $2)
    )
order by 1
