update idempotency_keys set response = $2, http_status = $3 where key = $1
