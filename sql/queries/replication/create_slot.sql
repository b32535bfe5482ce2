-- pgoutput, permanent, without two-phase decoding.
select lsn from pg_catalog.pg_create_logical_replication_slot($1, 'pgoutput', false, false)
