insert into replication_progress
    (slot, system_identifier, timeline, commit_lsn, ordinal, complete, acknowledged_lsn)
values ($1, $2, $3, $4, 0, true, $5)
on conflict (slot) do nothing
