select subscription_id, last_success_at, last_failure_at, last_failure_class, last_failure_status
from subscription_results
where subscription_id = any ($1)
