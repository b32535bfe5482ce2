-- Takes up to so many active subscriptions that nobody holds. Answers all that the
-- instance holds: what an earlier statement took whose answer was lost is among them.
with free as materialized (
    select s.id
    from webhook_subscriptions s
    where s.active
        and not exists (select from subscription_leases l where l.subscription_id = s.id)
    order by s.id
    limit $2
    -- One that is deleted just now must not be leased.
    for key share of s skip locked
),
taken as (
    insert into subscription_leases (subscription_id, instance)
    select id, $1 from free
    on conflict (subscription_id) do nothing
    returning subscription_id
)
select subscription_id from subscription_leases where instance = $1
union all
select subscription_id from taken
