-- What is to be sent in a batch has a size; null otherwise. As if it had come a while ago
-- ($9), so that nothing is waited for where the batch must not wait.
insert into delivery_schedule
    (delivery_id, subscription_id, tenant_id, event_type, status, due_at, batch_lsn, batch_ordinal,
        batch_rule, body_bytes)
select id, $3, $4, event_type, case when body_bytes is null then 'pending' else 'open' end,
    now() - make_interval(secs => $9),
    commit_lsn, ordinal, rule_index, body_bytes
from unnest($1::uuid[], $2::text[], $5::pg_lsn[], $6::int8[], $7::int2[], $8::int4[])
    as d (id, event_type, commit_lsn, ordinal, rule_index, body_bytes)
