delete from rule_stats
where ctid = any (array(
    select ctid from rule_stats
    where hour < $1::timestamptz - interval '400 days'
    limit $2
))
