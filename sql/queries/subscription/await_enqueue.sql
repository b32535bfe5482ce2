-- Waits for the enqueue that is under way: it holds its row of the progress.
select count(*) from (select from replication_progress for share) held
