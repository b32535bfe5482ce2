select epoch, system_identifier, timeline, commit_lsn, ordinal, complete, acknowledged_lsn
from replication_progress
where slot = $1
