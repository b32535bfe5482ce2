select
    count(*) as total,
    count(*) filter (where parked_at > now() - interval '1 day') as last_day
from parked_changes
