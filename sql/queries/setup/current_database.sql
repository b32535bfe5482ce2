select oid, datname::text as name from pg_catalog.pg_database where datname = pg_catalog.current_database()
