-- Of a subscription's versions those that another followed before all attempts that are kept.
delete from subscription_versions
where ctid = any (array(
    select v.ctid from subscription_versions v
    where v.changed_at < $1 and exists (
        select from subscription_versions next
        where next.subscription_id = v.subscription_id and next.version > v.version
            and next.changed_at < $1
    )
    limit $2
))
