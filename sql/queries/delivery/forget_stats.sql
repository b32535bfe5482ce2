delete from delivery_stats
where ctid = any (array(
    select ctid from delivery_stats
    where minutes = 1440 and at < $1
    order by at
    limit $2
))
