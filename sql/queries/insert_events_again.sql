-- Some of these may be in the store already.
insert into webhook_events
    (id, tenant_id, event_type, rule, commit_lsn, ordinal, rule_index, row_key, occurred_at, body)
select *
from unnest(
    $1::uuid[], $2::text[], $3::text[], $4::text[], $5::pg_lsn[], $6::int8[], $7::int2[],
    $8::text[], $9::timestamptz[], $10::bytea[]
)
on conflict (id) do nothing
