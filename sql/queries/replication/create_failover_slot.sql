-- Since PostgreSQL 17: synchronised to standbys, so that it survives a failover.
select lsn from pg_catalog.pg_create_logical_replication_slot($1, 'pgoutput', false, false, true)
