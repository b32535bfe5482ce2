-- Those of which nothing was kept that could be mapped again.
update parked_changes
set retried_at = retry_asked_at, retry_asked_at = null
where retry_asked_at is not null and change is null
