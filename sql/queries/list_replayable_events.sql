-- $5 and $6: types, `prefix.*` or `*`. A ping answers a test and is not repeated.
select id, event_type, commit_lsn, ordinal, rule_index, row_key, case when $7 then body end as body,
    octet_length(body) as body_bytes
from webhook_events
where id > $1 and id < $2 and occurred_at >= $3 and occurred_at < $4 and event_type <> 'ping'
    and exists (select from unnest($5::text[]) wanted
        where wanted in ('*', event_type)
            or (right(wanted, 2) = '.*' and starts_with(event_type, left(wanted, -1))))
    and exists (select from unnest($6::text[]) wanted
        where wanted in ('*', event_type)
            or (right(wanted, 2) = '.*' and starts_with(event_type, left(wanted, -1))))
    and ($9::pg_lsn is null or commit_lsn >= $9) and ($10::pg_lsn is null or commit_lsn <= $10)
order by id
limit $8
