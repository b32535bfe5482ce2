-- What is to be sent in a batch has a place in the log and a size; nulls otherwise.
insert into delivery_schedule
    (delivery_id, subscription_id, tenant_id, event_type, status, parked_reason, due_at,
        batch_lsn, batch_ordinal, batch_rule, body_bytes)
select id, subscription_id, tenant_id, event_type,
    case
        when parked_reason is not null then 'parked'
        when body_bytes is not null then 'open'
        else 'pending'
    end,
    parked_reason, now(), commit_lsn, ordinal, rule_index, body_bytes
from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::pg_lsn[], $7::int8[],
    $8::int2[], $9::int4[])
    as s (id, subscription_id, tenant_id, event_type, parked_reason, commit_lsn, ordinal,
        rule_index, body_bytes)
on conflict (delivery_id) do nothing
