-- A batch failed: the next one is tried later each time. The job has failed where the error
-- lasts ($2), or with the $3rd failure in a row.
update jobs
set failures = failures + 1,
    batch_at = clock_timestamp() + make_interval(secs => least(300, 2 ^ least(failures, 10))),
    state = case when $2 or failures + 1 >= $3 then 'failed' else state end,
    reason = case when $2 or failures + 1 >= $3 then $4 else reason end,
    finished_at = case when $2 or failures + 1 >= $3 then clock_timestamp() end,
    updated_at = clock_timestamp()
where id = $1 and state = 'running'
returning state
