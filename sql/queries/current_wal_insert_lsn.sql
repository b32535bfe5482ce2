select pg_catalog.pg_current_wal_insert_lsn()
