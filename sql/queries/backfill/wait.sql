-- What a running one waits for; null where it goes on.
update backfills
set waiting = $2, updated_at = now()
where id = $1 and status = 'running' and waiting is distinct from $2
