-- The given ones, and all but $2 that have been silent for $3 seconds.
update instances
set fenced_at = now()
where fenced_at is null
    and (id = any ($1) or id <> $2 and heartbeat_at < now() - make_interval(secs => $3))
returning id
