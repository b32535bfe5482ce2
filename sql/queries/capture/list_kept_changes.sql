-- The next changes after a place that were kept whole, of these rules or asked for, up to so
-- many bytes, at least one.
select commit_lsn, ordinal, rule, change
from (
    select *, sum(octet_length(change)) over (order by commit_lsn, ordinal, rule) - octet_length(change) as before
    from (
        select commit_lsn, ordinal, rule, change
        from parked_changes
        where (rule = any ($1::text[]) or ($6 and retry_asked_at is not null))
            and change is not null and (commit_lsn, ordinal, rule) > ($2, $3, $4)
        order by commit_lsn, ordinal, rule
        limit 500
    ) as next
) as running
where before < $5
order by commit_lsn, ordinal, rule
