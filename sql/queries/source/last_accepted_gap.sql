select
    count(*) over () as accepted,
    from_lsn,
    to_lsn,
    reason,
    extract(epoch from now() - accepted_at)::float8 as age_seconds
from gaps
where slot = $1 and accepted_at is not null
order by accepted_at desc, id desc
limit 1
