-- With how many deliveries may become due now: a second's worth at first, and no more than
-- a second's worth after a time in which no instance carried it out.
select *, floor(max_per_second * least(1,
    coalesce(extract(epoch from clock_timestamp() - batch_at)::float8, 1)))::int8 as allowed
from jobs
where id = $1
for update
