update instances set heartbeat_at = now(), low_water = $2 where id = $1
