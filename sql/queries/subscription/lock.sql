select disabled_at, disabled_after_lsn, disabled_after_ordinal, from_lsn
from webhook_subscriptions
where id = $1
for update
