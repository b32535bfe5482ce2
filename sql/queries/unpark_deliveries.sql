-- What was open is open again; of a batch that was closed before, the whole is due.
update delivery_schedule
set status = case when body_bytes is not null and batch_id is null then 'open' else 'pending' end,
    parked_reason = null, due_at = now()
where subscription_id = $1 and status = 'parked' and parked_reason = 'disabled'
