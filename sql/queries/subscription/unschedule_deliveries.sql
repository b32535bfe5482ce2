-- Failed ones stay listed until their retention ends. A batch goes with what is in it.
delete from delivery_schedule
where delivery_id in (
    (select delivery_id from delivery_schedule
    where subscription_id = $1 and status in ('pending', 'held', 'parked', 'batched')
    limit $2)
    union all
    (select delivery_id from delivery_schedule
    where subscription_id = $1 and status = 'open'
    limit $2)
)
returning delivery_id
