-- What the store has on record of itself, and what it is: every server lets every role ask.
-- The checkpoint's timeline lags behind a promotion; the name of the present segment does
-- not, but a standby has none.
select
    system_identifier,
    timeline,
    database_oid,
    database_name,
    table_oid,
    branched_at is not null as branched,
    (select c.system_identifier from pg_control_system() c)::text as found_system_identifier,
    case
        when pg_is_in_recovery() then (select c.timeline_id from pg_control_checkpoint() c)
        else ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer
    end as found_timeline,
    (select oid from pg_database where datname = current_database()) as found_database_oid,
    current_database()::text as found_database_name,
    store.tableoid as found_table_oid,
    encryption_key_id,
    encryption_key_check
from store
