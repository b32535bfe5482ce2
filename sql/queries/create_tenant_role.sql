do $$
begin
    if not exists (select from pg_roles where rolname = 'walhook_tenant') then
        create role walhook_tenant nologin;
    end if;
exception
    -- Another database of the cluster set itself up at the same moment.
    when duplicate_object or unique_violation then null;
end
$$;

-- The API switches to walhook_tenant, which takes membership of it.
do $$
begin
    if not pg_has_role(current_user, 'walhook_tenant', 'member') then
        execute format('grant walhook_tenant to %I', current_user);
    end if;
end
$$
