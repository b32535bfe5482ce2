-- Zero rows: another instance took this one for dead and has its deliveries.
update instances
set heartbeat_at = now(), low_water = $2
where id = $1 and fenced_at is null
