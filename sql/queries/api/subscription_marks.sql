-- What of a tenant's subscriptions may change by itself or by request: where the mark is another,
-- something has.
select id, hashtextextended(
    concat_ws(' ', version, active, breaker, failing_since, disabled_at, unreadable_reason is not null,
        filter_error is not null, cardinality(previous_secrets), secret_hint, public_key), 0) as mark
from webhook_subscriptions
where tenant_id = current_tenant()
