select
    id,
    hostname,
    version,
    roles,
    (select count(*) from subscription_leases l where l.instance = i.id) as subscriptions,
    rules_hash,
    extract(epoch from now() - rules_loaded_at)::float8 as rules_seconds,
    extract(epoch from now() - started_at)::float8 as up_seconds,
    extract(epoch from now() - heartbeat_at)::float8 as silent_seconds,
    clock_skew_seconds
from instances i
where fenced_at is null and heartbeat_at > now() - interval '1 hour'
order by started_at
