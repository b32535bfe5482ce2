delete from idempotency_keys where created_at < $1::timestamptz - interval '24 hours'
