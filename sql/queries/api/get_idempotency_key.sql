select request_hash, response, http_status, created_at < now() - make_interval(secs => $2) as abandoned
from idempotency_keys
where key = $1
