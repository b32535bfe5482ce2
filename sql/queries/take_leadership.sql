update replication_progress
set epoch = epoch + 1, leader = $2, leader_backend_pid = pg_backend_pid(),
    leader_backend_start = (
        select backend_start from pg_stat_activity where pid = pg_backend_pid()
    )
where slot = $1
returning epoch, system_identifier, timeline, commit_lsn, ordinal, complete, acknowledged_lsn
