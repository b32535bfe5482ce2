-- What waits, by state, and for how long the oldest of what is due has been due.
select
    count(*) filter (where status in ('pending', 'held') and lease_owner is null) as pending,
    count(*) filter (where status = 'pending' and lease_owner is not null) as leased,
    count(*) filter (where status = 'parked') as parked,
    count(*) filter (where status = 'failed') as failed,
    extract(epoch from now() - min(due_at) filter (where status = 'pending' and due_at < now()))::float8
        as oldest_due_seconds
from delivery_schedule
