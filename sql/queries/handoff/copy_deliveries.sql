copy webhook_deliveries_{day}
    (id, event_id, subscription_id, tenant_id, event_type, format, owner, status, attempts,
        delivered_at, first_attempt_at, first_duration_ms, first_http_status, last_http_status,
        first_response_excerpt, first_content_type, first_trigger, first_subscription_version)
from stdin (format binary)
