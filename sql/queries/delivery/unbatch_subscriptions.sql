-- What waits for a batch of a subscription that wants none any more is sent by itself.
update delivery_schedule
set status = 'pending', due_at = now(), body_bytes = null
where delivery_id in (
    select delivery_id from delivery_schedule
    where subscription_id = any($1) and status = 'open'
    limit $2
    for update skip locked
)
