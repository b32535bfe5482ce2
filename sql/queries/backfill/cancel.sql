update backfills
set status = 'cancelled', waiting = null, error = null, finished_at = now(), updated_at = now()
where slot = $1 and id = $2 and finished_at is null
returning id
