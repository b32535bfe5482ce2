-- Endpoints that were deleted since, and to which this event ($1) was to be sent. $2 and $3 say
-- which day to look into.
select own.subscription_id as id
from deleted_subscriptions own
where own.tenant_id = current_tenant() and exists (
    select from webhook_deliveries w
    where w.subscription_id = own.subscription_id and w.event_id = $1 and w.id >= $2 and w.id < $3
)
order by own.subscription_id desc
limit $4
