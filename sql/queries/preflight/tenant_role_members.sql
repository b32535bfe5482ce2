-- Who else may act as the role $1: each grant of it to a role that is neither ours nor a
-- superuser, and who has it by that. From 16 on a membership may give neither its rights
-- nor `set role`: its maker's does not.
select member.rolname::text as member, grantor.rolname::text as grantor,
    array(
        select role.rolname::text
        from pg_roles as role
        where not role.rolsuper and role.oid <> member.oid and role.rolname <> current_user
            and pg_has_role(role.oid, member.oid, 'member')
        order by role.rolname
    ) as by_member
from pg_auth_members as granted
join pg_roles as tenant on tenant.oid = granted.roleid
join pg_roles as member on member.oid = granted.member
join pg_roles as grantor on grantor.oid = granted.grantor
where tenant.rolname = $1 and not member.rolsuper and member.rolname <> current_user
    and (coalesce((to_jsonb(granted) ->> 'set_option')::boolean, true)
        or coalesce((to_jsonb(granted) ->> 'inherit_option')::boolean, true))
order by member.rolname, grantor.rolname
