update backfills
set status = 'failed', waiting = null, error = $2, updated_at = now()
where id = $1 and status = 'running'
