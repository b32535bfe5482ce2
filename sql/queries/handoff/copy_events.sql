copy webhook_events_{day}
    (id, tenant_id, event_type, rule, commit_lsn, ordinal, rule_index, row_key, occurred_at, body,
        has_deliveries)
from stdin (format binary)
