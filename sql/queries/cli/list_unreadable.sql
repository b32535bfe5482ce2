select id, tenant_id, unreadable_reason
from webhook_subscriptions
where unreadable_reason is not null
order by id
