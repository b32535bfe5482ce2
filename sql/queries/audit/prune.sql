delete from audit_log
where ctid = any (array(
    select ctid from audit_log
    where at < $1
    order by at
    limit $2
))
