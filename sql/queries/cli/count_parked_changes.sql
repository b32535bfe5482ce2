select count(*)
from parked_changes
where ($1::text is null or rule = $1 or starts_with(rule, $1 || '@')) and ($2::text is null or relation = $2)
    and ($3::text is null or reason = $3) and ($4::timestamptz is null or parked_at >= $4)
