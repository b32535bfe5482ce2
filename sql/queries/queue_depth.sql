select
    count(*) filter (where status in ('pending', 'held'))::float8 as retrying,
    count(*) filter (where status = 'parked')::float8 as parked,
    count(*) filter (where status = 'failed')::float8 as failed,
    coalesce(greatest(extract(epoch from now() - min(due_at) filter (where status = 'pending')), 0), 0)::float8
        as oldest
from delivery_schedule
