-- A standby writes no log: how far it has replayed stands for it, as its catalog does.
select case
    when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn()
    else pg_catalog.pg_current_wal_insert_lsn()
end
