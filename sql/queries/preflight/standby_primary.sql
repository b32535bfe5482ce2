-- The function came with 16.
select
    pg_is_in_recovery() as in_recovery,
    (select system_identifier from pg_control_system())::text as system_identifier,
    current_setting('wal_level') as wal_level,
    coalesce(
        has_function_privilege(to_regprocedure('pg_catalog.pg_log_standby_snapshot()'), 'execute'),
        false
    ) as may_log_snapshot,
    current_user::text as role
