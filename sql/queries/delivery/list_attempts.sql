-- A first attempt that succeeded stands on the delivery itself.
select number, started_at, duration_ms, http_status, error_class, error, response_excerpt
from webhook_attempts
where delivery_id = $1
union all
select 1, first_attempt_at, first_duration_ms, first_http_status, null, null, first_response_excerpt
from webhook_deliveries
where id = $1 and first_attempt_at is not null
order by number
