select
    current_setting('server_version_num')::integer as version_number,
    current_setting('server_version') as version,
    current_setting('server_encoding') as encoding,
    current_database()::text as database,
    pg_is_in_recovery() as in_recovery,
    current_setting('wal_level') as wal_level,
    current_setting('max_replication_slots')::integer as max_slots,
    (select count(*)::integer from pg_replication_slots) as slots,
    current_setting('max_wal_senders')::integer as max_senders,
    (select count(*)::integer from pg_stat_replication) as senders,
    -- megabytes, -1: no limit
    (select setting::bigint from pg_settings where name = 'max_slot_wal_keep_size') as keep_size_mb,
    -- milliseconds, 0: never
    -- 18 and later; 0: never
    (select setting::bigint from pg_settings where name = 'idle_replication_slot_timeout') as idle_slot_timeout,
    current_setting('synchronous_standby_names') <> '' as synchronous_standbys
