-- A temporary one, which ends with this session at the latest.
select from pg_copy_logical_replication_slot($1, $2, true)
