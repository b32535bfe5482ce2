select d.owner is not null as owned, d.subscription_id,
    (select s.active from webhook_subscriptions s where s.id = d.subscription_id) as active
from webhook_deliveries d
where d.id = $1
for update
