-- Those that wait for others of their row are held again when they are met.
update delivery_schedule
set status = 'pending', due_at = clock_timestamp()
where subscription_id = $1 and status = 'held'
