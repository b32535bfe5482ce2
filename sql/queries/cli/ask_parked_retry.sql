-- The instance that holds the slot maps them again. How many, and the time by which they are
-- known.
with asked as (
    update parked_changes
    set retry_asked_at = now(), retried_at = null
    where ($1::text is null or rule = $1 or starts_with(rule, $1 || '@')) and ($2::text is null or relation = $2)
        and ($3::text is null or reason = $3) and ($4::timestamptz is null or parked_at >= $4)
    returning 1
)
select count(*) as asked, now() as asked_at from asked
