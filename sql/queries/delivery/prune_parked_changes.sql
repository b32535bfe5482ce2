delete from parked_changes
where ctid = any (array(
    select ctid from parked_changes
    where parked_at < $1
    limit $2
))
