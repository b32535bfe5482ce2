update store
set source_system_identifier = $1, source_timeline = $2, source_database_oid = $3,
    source_database_name = $4, source_slot = $5
