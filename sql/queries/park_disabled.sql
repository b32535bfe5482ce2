-- What waits for a disabled subscription waits until it is enabled.
update delivery_schedule s
set status = 'parked', parked_reason = 'disabled'
where s.subscription_id = any($1) and s.status = 'pending' and s.lease_owner is null
