select * from subscription_versions
where subscription_id = $1 and version < $2
order by version desc
limit $3
