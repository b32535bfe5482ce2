-- A tenant's events are found by its deliveries, so that an event is written with one index
-- entry less: only those that nobody had subscribed to have one of their own. All from
-- before keep theirs.
alter table webhook_events add column has_deliveries boolean not null default false;
drop index webhook_events_tenant;
create index webhook_events_undelivered on webhook_events (tenant_id, id desc)
    where not has_deliveries;

-- For that a subscription's deliveries stand in the order of their events.
drop index webhook_deliveries_subscription;
create index webhook_deliveries_subscription on webhook_deliveries (subscription_id, event_id desc);

-- As of deliveries: a planner that knows how few rows are a tenant's reads all of them for
-- each that it should find by its key.
drop policy tenant_sees_own on webhook_events;
create policy tenant_sees_own on webhook_events to walhook_tenant
    using (coalesce(tenant_id = current_tenant(), false))
    with check (tenant_id = current_tenant());
