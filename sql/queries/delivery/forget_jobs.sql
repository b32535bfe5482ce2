delete from jobs
where ctid = any (array(
    select ctid from jobs
    where finished_at < $1
    limit $2
))
