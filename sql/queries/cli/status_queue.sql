-- What waits, by state, and for how long the oldest of what is due has been due. A batch
-- counts as those that are in it.
select
    count(*) filter (where status in ('pending', 'held', 'open') and lease_owner is null) as pending,
    count(*) filter (where status = 'pending' and lease_owner is not null) as in_flight,
    count(*) filter (where status = 'parked') as parked,
    count(*) filter (where status = 'failed') as failed,
    extract(epoch from now() - min(due_at) filter (where status = 'pending' and due_at < now()
            and (lease_owner is null or leased_until <= now())))::float8
        as oldest_due_seconds
from (
    select coalesce(b.status, s.status) as status, coalesce(b.due_at, s.due_at) as due_at,
        coalesce(b.lease_owner, s.lease_owner) as lease_owner,
        coalesce(b.leased_until, s.leased_until) as leased_until
    from delivery_schedule s
    left join delivery_schedule b on b.delivery_id = s.batch_id
    where s.batch_id is distinct from s.delivery_id
) d
