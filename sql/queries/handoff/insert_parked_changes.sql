insert into parked_changes
    (commit_lsn, ordinal, rule, relation, reason, detail, row_key, row_bytes, change)
select *
from unnest(
    $1::pg_lsn[], $2::int8[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::int8[],
    $9::bytea[]
)
on conflict do nothing
