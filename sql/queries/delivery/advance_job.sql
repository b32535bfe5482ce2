update jobs
set state = $2, reason = $3, from_id = $4, to_id = $5, done = done + $6,
    filter_failures = filter_failures + $7, probed = probed || $8::uuid[],
    batch_at = clock_timestamp(), updated_at = clock_timestamp(),
    finished_at = case when $2 in ('done', 'failed') then clock_timestamp() end
where id = $1
