update delivery_schedule
set status = 'pending', parked_reason = null, due_at = now()
where subscription_id = $1 and status = 'parked' and parked_reason = 'disabled'
