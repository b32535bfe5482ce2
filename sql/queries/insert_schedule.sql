-- Ordered ones have a row's key and their place in the log.
insert into delivery_schedule
    (delivery_id, subscription_id, tenant_id, event_type, status, parked_reason, due_at,
        order_key, commit_lsn, ordinal, rule_index)
select id, subscription_id, tenant_id, event_type,
    case when parked_reason is null then 'pending' else 'parked' end, parked_reason, now(),
    hashtextextended(row_key, 0), commit_lsn, ordinal, rule_index
from unnest(
    $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::pg_lsn[],
    $8::int8[], $9::int2[]
) as s (id, subscription_id, tenant_id, event_type, parked_reason, row_key, commit_lsn, ordinal,
    rule_index)
on conflict (delivery_id) do nothing
