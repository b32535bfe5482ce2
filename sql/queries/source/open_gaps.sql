-- What nobody has accepted yet.
select kind, table_name, from_lsn, to_lsn, reason,
    extract(epoch from now() - detected_at)::float8 as age_seconds
from gaps
where slot = $1 and accepted_at is null
order by id
