-- By hand: to the state $2 from one of $3.
update jobs
set state = $2, reason = null, failures = 0, updated_at = now(),
    finished_at = case when $2 = 'cancelled' then now() end
where id = $1 and state = any ($3)
