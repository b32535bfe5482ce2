select delivery_id
from delivery_schedule s
where status = $1
    and delivery_id >= $2 and delivery_id < $3
    and ($4::text is null or event_type = $4)
    and ($5::uuid is null or subscription_id = $5)
    and (lease_owner is null or due_at <= now())
    and exists (select from webhook_subscriptions w where w.id = s.subscription_id and w.active)
order by delivery_id desc
limit $6
for update of s skip locked
