-- These are sent each by itself.
update delivery_schedule
set status = 'pending', due_at = now(), body_bytes = null
where delivery_id = any($1) and status = 'open'
