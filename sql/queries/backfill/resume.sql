update backfills
set status = 'running', waiting = null, error = null, updated_at = now()
where slot = $1 and id = $2 and status in ('running', 'paused', 'failed')
returning id
