insert into store
    (schema_sha256, tenant_role, system_identifier, timeline, database_oid, database_name, table_oid)
select $1,
    $2,
    (select system_identifier from pg_control_system())::text,
    ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer,
    oid,
    datname::text,
    'store'::regclass
from pg_database
where datname = current_database()
