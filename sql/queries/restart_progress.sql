-- A new slot under the old name. The epoch is raised, so that a leader that was
-- frozen since before can write nothing any more.
insert into replication_progress
    (slot, system_identifier, timeline, commit_lsn, ordinal, complete, acknowledged_lsn)
values ($1, $2, $3, $4, 0, true, $5)
on conflict (slot) do update set
    system_identifier = excluded.system_identifier,
    timeline = excluded.timeline,
    commit_lsn = excluded.commit_lsn,
    ordinal = excluded.ordinal,
    complete = excluded.complete,
    acknowledged_lsn = excluded.acknowledged_lsn,
    epoch = replication_progress.epoch + 1,
    leader = null,
    leader_backend_pid = null,
    leader_backend_start = null,
    updated_at = now()
