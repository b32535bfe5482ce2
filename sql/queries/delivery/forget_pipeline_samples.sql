delete from pipeline_samples
where ctid = any (array(
    select ctid from pipeline_samples
    where at < $1::timestamptz - interval '7 days'
    limit $2
))
