-- Events of walhook's own, which stand nowhere in the WAL, with their deliveries: due now,
-- or in their subscription's next batch.
with event as (
    insert into webhook_events
        (id, tenant_id, event_type, rule, commit_lsn, ordinal, rule_index, row_key, occurred_at,
            body, has_deliveries)
    select id, tenant_id, event_type, event_type, '0/0', 0, 0, '', $1, body, true
    from unnest($2::uuid[], $3::text[], $4::text[], $5::bytea[])
        as e (id, tenant_id, event_type, body)
    returning id, tenant_id, event_type, octet_length(body) as body_bytes
),
wanted as (
    select d.*, e.tenant_id, e.event_type, case when d.batched then e.body_bytes end as body_bytes
    from unnest($6::uuid[], $7::uuid[], $8::uuid[], $9::text[], $10::bool[])
        as d (id, event_id, subscription_id, format, batched)
    join event e on e.id = d.event_id
),
delivery as (
    insert into webhook_deliveries
        (id, event_id, event_type, subscription_id, tenant_id, format, next_attempt_at)
    select id, event_id, event_type, subscription_id, tenant_id, format, now()
    from wanted
)
insert into delivery_schedule
    (delivery_id, subscription_id, tenant_id, event_type, status, due_at, batch_lsn,
        batch_ordinal, batch_rule, body_bytes)
select id, subscription_id, tenant_id, event_type,
    case when batched then 'open' else 'pending' end, now(), '0/0', 0, 0, body_bytes
from wanted
