-- How many deliveries are not done; null while the WAL up to $1 is not enqueued.
select case
    when progress.commit_lsn >= $1::text::pg_lsn then (
        select count(*) from walhook.webhook_deliveries where status = 'pending'
    )
end
from walhook.replication_progress as progress
