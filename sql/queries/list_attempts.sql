select number, started_at, duration_ms, http_status, error_class, error, response_excerpt
from webhook_attempts
where delivery_id = $1
order by number
