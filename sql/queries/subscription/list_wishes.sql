select id, tenant_id, url, events, filter, active, from_lsn
from webhook_subscriptions
order by id
