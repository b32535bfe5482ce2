select
    commit_lsn,
    ordinal,
    rule,
    relation,
    reason,
    detail,
    row_key,
    row_bytes,
    extract(epoch from now() - parked_at)::float8 as age_seconds,
    count(*) over () as total,
    count(*) filter (where parked_at > now() - interval '1 day') over () as last_day
from parked_changes
where ($1::text is null or rule = $1 or starts_with(rule, $1 || '@')) and ($2::text is null or relation = $2)
    and ($3::text is null or reason = $3) and ($4::timestamptz is null or parked_at >= $4)
order by parked_at desc, commit_lsn desc, ordinal desc, rule
limit $5
