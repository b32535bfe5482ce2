-- How many deliveries are not done; null while the log up to $1 is not enqueued.
select case
    when slot.confirmed_flush_lsn >= $1::text::pg_lsn then (
        select count(*) from walhook.webhook_deliveries where status = 'pending'
    )
end
from pg_replication_slots as slot
where slot.slot_name = 'walhook'
