-- Ordered ones have a row's key and their position in the WAL; those that are to be sent in a
-- batch have a size and that place.
insert into delivery_schedule
    (delivery_id, subscription_id, tenant_id, event_type, status, parked_reason, due_at,
        order_key, commit_lsn, ordinal, rule_index,
        body_bytes, batch_lsn, batch_ordinal, batch_rule)
select id, subscription_id, tenant_id, event_type,
    case
        when parked_reason is not null then 'parked'
        when body_bytes is not null then 'open'
        else 'pending'
    end,
    parked_reason, now(),
    hashtextextended(row_key, 0),
    case when row_key is not null then commit_lsn end,
    case when row_key is not null then ordinal end,
    case when row_key is not null then rule_index end,
    body_bytes,
    case when body_bytes is not null then commit_lsn end,
    case when body_bytes is not null then ordinal end,
    case when body_bytes is not null then rule_index end
from unnest(
    $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::pg_lsn[],
    $8::int8[], $9::int2[], $10::int4[]
) as s (id, subscription_id, tenant_id, event_type, parked_reason, row_key, commit_lsn, ordinal,
    rule_index, body_bytes)
on conflict (delivery_id) do nothing
