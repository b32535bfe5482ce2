-- At a rate, what has become due is taken off the time that has passed, so that no part of it is
-- lost between two batches; no more than a second of it is kept.
update jobs
set state = $2, reason = $3, from_id = $4, to_id = $5, done = done + $6,
    filter_failures = filter_failures + $7, probed = probed || $8::uuid[], failures = 0,
    batch_at = case when max_per_second is null then clock_timestamp()
        else greatest(batch_at, clock_timestamp() - interval '1 second')
            + make_interval(secs => $6::float8 / max_per_second) end,
    updated_at = clock_timestamp(),
    finished_at = case when $2 in ('done', 'failed') then clock_timestamp() end
where id = $1
