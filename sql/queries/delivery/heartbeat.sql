-- Notes how far the instance's clock is ahead of ours, as it found at the last heartbeat, and
-- tells it ours again.
update instances
set heartbeat_at = now(), low_water = $2, clock_skew_seconds = $3
where id = $1
returning clock_timestamp()
