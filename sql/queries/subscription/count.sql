select
    count(*) filter (where active) as active,
    count(*) filter (where not active) as disabled
from webhook_subscriptions
