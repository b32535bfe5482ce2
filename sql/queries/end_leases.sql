update delivery_schedule
set lease_owner = null, due_at = now()
where lease_owner = $1
