select exists (
    select from delivery_schedule
    where delivery_id >= $1 and delivery_id < $2 and status <> 'failed'
) or exists (
    select from webhook_deliveries
    where id >= $1 and id < $2 and owner is not null
)
