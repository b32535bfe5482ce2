select pg_catalog.pg_log_standby_snapshot()
