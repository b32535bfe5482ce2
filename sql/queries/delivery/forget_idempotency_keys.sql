delete from idempotency_keys
where ctid = any (array(
    select ctid from idempotency_keys
    where created_at < $1::timestamptz - interval '24 hours'
    limit $2
))
