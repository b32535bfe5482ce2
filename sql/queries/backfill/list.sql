-- Unfinished ones, and the newest of the others.
select *
from (
    select * from backfills where slot = $1 and finished_at is null
    union
    (select * from backfills where slot = $1 and finished_at is not null order by id desc limit 20)
) as listed
order by id
