-- Events of walhook's own, which stand nowhere in the log, with their deliveries: due now.
with event as (
    insert into webhook_events
        (id, tenant_id, event_type, rule, commit_lsn, ordinal, rule_index, row_key, occurred_at,
            body)
    select id, tenant_id, event_type, event_type, '0/0', 0, 0, '', $1, body
    from unnest($2::uuid[], $3::text[], $4::text[], $5::bytea[])
        as e (id, tenant_id, event_type, body)
    returning id, tenant_id, event_type
),
delivery as (
    insert into webhook_deliveries
        (id, event_id, event_type, commit_lsn, ordinal, rule_index, row_key, subscription_id,
            tenant_id, format, next_attempt_at)
    select d.id, e.id, e.event_type, '0/0', 0, 0, '', d.subscription_id, e.tenant_id, d.format,
        now()
    from unnest($6::uuid[], $7::uuid[], $8::uuid[], $9::text[])
        as d (id, event_id, subscription_id, format)
    join event e on e.id = d.event_id
    returning id, subscription_id, tenant_id, event_type
)
insert into delivery_schedule (delivery_id, subscription_id, tenant_id, event_type, status, due_at)
select id, subscription_id, tenant_id, event_type, 'pending', now()
from delivery
