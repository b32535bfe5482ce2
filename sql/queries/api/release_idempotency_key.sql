delete from idempotency_keys where key = $1 and http_status = 0
