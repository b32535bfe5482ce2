insert into webhook_deliveries
    (id, event_id, event_type, commit_lsn, ordinal, rule_index, row_key,
    subscription_id, tenant_id, format, replay_id, next_attempt_at)
select *, $8, $9, $10, $11, now()
from unnest($1::uuid[], $2::uuid[], $3::text[], $4::pg_lsn[], $5::int8[], $6::int2[], $7::text[])
