update backfills
set status = 'paused', waiting = null, updated_at = now()
where slot = $1 and id = $2 and status = 'running'
returning id
