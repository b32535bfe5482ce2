-- Every replication slot, as text: read over the walsender connection too, which
-- takes no parameters. The reason of an invalidation has a column of its own since
-- PostgreSQL 17 and a hint of one in 16.
select slot_name,
       slot_type,
       plugin,
       database,
       active_pid,
       wal_status,
       safe_wal_size,
       restart_lsn,
       confirmed_flush_lsn,
       temporary,
       two_phase,
       coalesce(
           to_jsonb(slots) ->> 'invalidation_reason',
           case to_jsonb(slots) ->> 'conflicting' when 'true' then 'conflicting' end
       ) as invalidation_reason,
       to_jsonb(slots) ->> 'synced' as synced,
       to_jsonb(slots) ->> 'failover' as failover
  from pg_catalog.pg_replication_slots as slots
