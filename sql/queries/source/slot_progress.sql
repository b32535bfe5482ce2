select
    system_identifier,
    timeline,
    commit_lsn,
    acknowledged_lsn,
    epoch,
    leader,
    updated_at,
    extract(epoch from now() - updated_at)::float8 as age_seconds
from replication_progress
where slot = $1
