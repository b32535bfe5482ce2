-- Of those that were asked for at a time: how many wait, and how many stay parked.
select
    count(*) filter (where retry_asked_at = $1) as waiting,
    count(*) filter (where retried_at = $1) as stayed
from parked_changes
where retry_asked_at = $1 or retried_at = $1
