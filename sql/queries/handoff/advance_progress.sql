-- No row where another instance has raised the epoch: then nothing may be written.
update replication_progress
set commit_lsn = $3, ordinal = $4, complete = $5, acknowledged_lsn = $6, updated_at = now()
where slot = $1 and epoch = $2
