-- Which instance sends to a subscription: one at a time, which alone has its queue, its
-- rate and its breaker in memory. A lease has no time of its own: it holds for as long as
-- its instance is heard of, and goes with it (heartbeat_at, fenced_at). Nobody sends to a
-- subscription that is not active, and nobody needs its lease.
create table subscription_leases (
    subscription_id uuid primary key references webhook_subscriptions on delete cascade,
    instance uuid not null references instances on delete cascade
);
create index subscription_leases_instance on subscription_leases (instance);

-- Those who share the subscriptions among them look when one of them comes or leaves, and
-- when a lease is given back.
create function announce_leases() returns trigger
    language plpgsql
as $$
begin
    perform pg_notify('walhook_leases', tg_table_schema);
    return null;
end
$$;
create trigger announce_leases after insert or update of roles on instances
    for each statement execute function announce_leases();
create trigger announce_leases after delete on subscription_leases
    for each statement execute function announce_leases();

-- Which process of which machine it is, where that is known: whoever is started there next
-- sees whether it still runs.
alter table instances add column process text;
