-- The present has left the recorded timeline after everything that was enqueued. An idle
-- acknowledgement after the branch ($4) speaks of a log that is no more: the new timeline
-- has other commits there.
update replication_progress
set timeline = $3, acknowledged_lsn = least(acknowledged_lsn, $4), updated_at = now()
where slot = $1 and epoch = $2
