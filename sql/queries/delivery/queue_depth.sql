-- Deliveries that no instance holds, and how many of the pending ones were tried before. A batch
-- counts as those that are in it.
select
    count(*) filter (where status in ('pending', 'held', 'open') and not leased)::float8 as pending,
    count(*) filter (where status in ('pending', 'held', 'open') and not leased and tried)::float8
        as retries,
    count(*) filter (where status = 'parked')::float8 as parked,
    count(*) filter (where status = 'failed')::float8 as failed,
    coalesce(greatest(extract(epoch from now() - min(due_at) filter (where status = 'pending' and not leased)), 0), 0)::float8
        as oldest
from (
    select coalesce(b.status, s.status) as status, coalesce(b.due_at, s.due_at) as due_at,
        coalesce(b.tried, s.tried) as tried,
        coalesce(coalesce(b.lease_owner, s.lease_owner) is not null
            and coalesce(b.leased_until, s.leased_until) > now(), false) as leased
    from delivery_schedule s
    left join delivery_schedule b on b.delivery_id = s.batch_id
    where s.batch_id is distinct from s.delivery_id
) d
