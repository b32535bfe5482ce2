insert into webhook_deliveries
    (id, event_id, subscription_id, tenant_id, event_type, format, commit_lsn, ordinal,
        rule_index, row_key, owner)
select *
from unnest(
    $1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::pg_lsn[],
    $8::int8[], $9::int2[], $10::text[], $11::uuid[]
)
on conflict (id) do nothing
