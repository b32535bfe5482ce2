select system_identifier::text,
    (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database()) as database_oid
from pg_catalog.pg_control_system()
