-- The checkpoint's timeline lags behind a promotion; the name of the present
-- segment does not, but a standby has none.
select (select system_identifier from pg_catalog.pg_control_system())::text,
       case
           when pg_catalog.pg_is_in_recovery()
               then (select timeline_id from pg_catalog.pg_control_checkpoint())
           else ('x' || left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8))::bit(32)::integer
       end,
       case
           when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn()
           else pg_catalog.pg_current_wal_flush_lsn()
       end,
       current_database()::text,
       current_setting('server_version_num')::integer
