insert into webhook_events
    (id, tenant_id, event_type, rule, commit_lsn, ordinal, rule_index, row_key, occurred_at, body,
        has_deliveries)
values ($1, $2, $3, '', '0/0', 0, 0, '', $4, $5, true)
