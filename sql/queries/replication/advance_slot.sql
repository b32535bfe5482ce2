-- To the present where no position is given. Decodes nothing: the output plugin, and so the
-- publication, is not asked.
select end_lsn
from pg_replication_slot_advance($1, coalesce($2, case
    when pg_is_in_recovery() then pg_last_wal_replay_lsn()
    else pg_current_wal_lsn()
end))
