-- Failed ones stay listed until their retention ends.
delete from delivery_schedule
where delivery_id in (
    select delivery_id from delivery_schedule
    where subscription_id = $1 and status <> 'failed'
    limit $2
)
returning delivery_id
