-- Unfinished ones, and the newest of the others; or the given one alone.
select *
from (
    select * from backfills where slot = $1 and (finished_at is null or id = $2)
    union
    (select * from backfills where slot = $1 and finished_at is not null order by id desc limit 20)
) as listed
where $2::uuid is null or id = $2
order by id
