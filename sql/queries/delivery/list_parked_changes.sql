-- The newest, and how many there are. Counted apart: a count over the rows themselves would keep all
-- of them, each with its detail, to show a few.
with matching as not materialized (
    select *
    from parked_changes
    where ($1::text is null or rule = $1 or starts_with(rule, $1 || '@')) and ($2::text is null or relation = $2)
        and ($3::text is null or reason = $3) and ($4::timestamptz is null or parked_at >= $4)
),
counted as (
    select count(*) as total,
        count(*) filter (where parked_at > now() - interval '1 day') as last_day
    from matching
)
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
    total,
    last_day
from matching
cross join counted
order by parked_at desc, commit_lsn desc, ordinal desc, rule
limit $5
