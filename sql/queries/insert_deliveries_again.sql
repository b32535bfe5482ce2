-- Some of these may be in the store already. A delivery whose first attempt succeeded before its row was written has a result: then
-- it is nobody's, and the end is written at once.
insert into webhook_deliveries
    (id, event_id, subscription_id, tenant_id, event_type, format, commit_lsn, ordinal,
        rule_index, row_key, owner, first_attempt_at, first_duration_ms, first_http_status,
        first_response_excerpt, last_http_status, status, attempts, delivered_at)
select id, event_id, subscription_id, tenant_id, event_type, format, commit_lsn, ordinal,
    rule_index, row_key, owner, attempted_at, duration_ms, http_status, excerpt, http_status,
    case when attempted_at is null then 'pending' else 'delivered' end,
    (attempted_at is not null)::integer,
    attempted_at + duration_ms * interval '1 ms'
from unnest(
    $1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::pg_lsn[],
    $8::int8[], $9::int2[], $10::text[], $11::uuid[], $12::timestamptz[], $13::int4[],
    $14::int2[], $15::text[]
) as row (id, event_id, subscription_id, tenant_id, event_type, format, commit_lsn, ordinal,
    rule_index, row_key, owner, attempted_at, duration_ms, http_status, excerpt)
on conflict (id) do nothing
