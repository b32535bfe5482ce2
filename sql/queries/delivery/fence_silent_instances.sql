update instances
set fenced_at = now()
where id <> $1 and fenced_at is null and heartbeat_at < now() - make_interval(secs => $2)
returning id
