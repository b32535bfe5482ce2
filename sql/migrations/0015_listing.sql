-- A tenant's deliveries are listed by its subscriptions, of each the newest, so that every
-- delivery is written with one index entry less: each costs the enqueue a sixth. What was
-- sent to a subscription that is deleted stays listed: it is remembered for as long.
create table deleted_subscriptions (
    subscription_id uuid primary key,
    tenant_id text not null,
    deleted_at timestamptz not null default now()
);
create index deleted_subscriptions_tenant on deleted_subscriptions (tenant_id);
alter table deleted_subscriptions enable row level security;
alter table deleted_subscriptions force row level security;
do $$
begin
    execute format('create policy owner_sees_all on deleted_subscriptions to %I using (true) with check (true)',
        current_user);
end
$$;
create policy tenant_sees_own on deleted_subscriptions to walhook_tenant
    using (tenant_id = current_tenant());
grant select on deleted_subscriptions to walhook_tenant;

-- Whoever deletes one, the tenant's role among them.
create function remember_deleted_subscription() returns trigger
    language plpgsql security definer
as $$
begin
    execute format('insert into %I.deleted_subscriptions (subscription_id, tenant_id) values ($1, $2)',
        tg_table_schema)
        using old.id, old.tenant_id;
    return null;
end
$$;
create trigger remember_deleted_subscription after delete on webhook_subscriptions
    for each row execute function remember_deleted_subscription();

-- Those that were deleted before: the index is entered once for each subscription.
with recursive known as (
    (select subscription_id, tenant_id
    from webhook_deliveries
    order by subscription_id
    limit 1)
    union all
    select next.*
    from known k
    cross join lateral (
        select d.subscription_id, d.tenant_id
        from webhook_deliveries d
        where d.subscription_id > k.subscription_id
        order by d.subscription_id
        limit 1
    ) next
)
insert into deleted_subscriptions (subscription_id, tenant_id)
select subscription_id, tenant_id
from known
where not exists (select from webhook_subscriptions s where s.id = known.subscription_id);

drop index webhook_deliveries_tenant;

-- A planner that knows how few rows are a tenant's takes the subscription's for as few again,
-- and sorts all of them where it should walk the index; and where the tenant is newer than
-- its statistics it reads all of the tenant's for each row that it should find by its key. Of
-- this form it knows nothing. A query that wants a tenant's rows by the index says so itself.
do $$
declare
    name text;
begin
    foreach name in array array['webhook_deliveries', 'delivery_schedule']
    loop
        execute format('drop policy tenant_sees_own on %I', name);
        execute format('create policy tenant_sees_own on %I to walhook_tenant '
            'using (coalesce(tenant_id = current_tenant(), false)) '
            'with check (tenant_id = current_tenant())', name);
    end loop;
end
$$;
