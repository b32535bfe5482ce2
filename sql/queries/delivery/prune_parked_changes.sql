delete from parked_changes where parked_at < $1
