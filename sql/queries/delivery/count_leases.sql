-- The instances that can take subscriptions, and how many each holds of those that are
-- active. One whose heartbeats ($2 seconds) are late gets nothing more.
with held as materialized (
    select l.instance, count(*) as leases
    from subscription_leases l
    join webhook_subscriptions s on s.id = l.subscription_id and s.active
    group by l.instance
)
select i.id, coalesce(h.leases, 0) as leases,
    (select count(*) from webhook_subscriptions where active) as active
from instances i
left join held h on h.instance = i.id
where i.fenced_at is null and 'deliver' = any(i.roles)
    and (i.id = $1 or i.heartbeat_at > now() - make_interval(secs => $2))
