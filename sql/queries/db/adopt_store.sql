update store
set system_identifier = $1, timeline = $2, database_oid = $3, database_name = $4, table_oid = $5,
    branched_at = null, identified_at = now()
