select max(version)::bigint from refinery_schema_history
