-- What waits for a disabled subscription waits until it is enabled; one that was enabled
-- meanwhile parks nothing.
with disabled as (
    select id from webhook_subscriptions where id = any($1) and not active for share
)
update delivery_schedule s
set status = 'parked', parked_reason = 'disabled'
from disabled d
where s.subscription_id = d.id and s.status in ('pending', 'open') and s.lease_owner is null
