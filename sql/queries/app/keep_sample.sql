-- Without waiting for the disk: losing a sample in a crash does no harm.
with unhurried as materialized (
    select set_config('synchronous_commit', 'off', true)
)
insert into pipeline_samples
    (slot, lag_bytes, retained_bytes, lag_seconds, requests_under_way, breakers_open)
select $1::text, $2::int8, $3::int8, $4::float8, $5::int8, $6::int8
from unhurried
on conflict do nothing
