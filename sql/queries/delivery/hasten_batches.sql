-- Whole batches: what is in one is sent with the others, or after it has failed.
update delivery_schedule
set due_at = now(), trigger = $2, actor = $3
where delivery_id = any($1) and status = 'pending'
    and (lease_owner is null or leased_until <= now())
