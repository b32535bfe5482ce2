-- Locks the instance's row, and tells whether the last heartbeat that was counted is there.
update instances
set heartbeats = heartbeats + 1, encryption_key_ids = $2
where id = $1 and fenced_at is null
returning heartbeats
