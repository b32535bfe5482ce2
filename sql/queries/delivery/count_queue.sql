-- What waits, by state, how many of the pending ones were tried before, and for how long the oldest of
-- what is due has been due. A batch counts as those that are in it, and what is leased for as long
-- as the lease lasts.
select
    count(*) filter (where status in ('pending', 'held', 'open') and not leased) as pending,
    count(*) filter (where status in ('pending', 'held', 'open') and not leased and tried) as retries,
    count(*) filter (where leased) as in_flight,
    count(*) filter (where status = 'parked') as parked,
    count(*) filter (where status = 'failed') as failed,
    extract(epoch from now() - min(due_at) filter (where status = 'pending' and not leased
            and due_at < now()))::float8
        as oldest_due_seconds
from (
    select coalesce(b.status, s.status) as status, coalesce(b.due_at, s.due_at) as due_at,
        coalesce(b.tried, s.tried) as tried,
        coalesce(coalesce(b.lease_owner, s.lease_owner) is not null
            and coalesce(b.leased_until, s.leased_until) > now(), false) as leased
    from delivery_schedule s
    left join delivery_schedule b on b.delivery_id = s.batch_id
    where s.batch_id is distinct from s.delivery_id
) d
