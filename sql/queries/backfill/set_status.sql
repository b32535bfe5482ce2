-- From one of the statuses $4. Not done, which its last chunk makes it.
update backfills
set status = $3, error = $5, waiting = null, updated_at = now(),
    finished_at = case when $3 = 'cancelled' then now() end
where slot = $1 and id = $2 and status = any ($4)
