select
    id, schema_name, table_name, table_oid, key_columns, columns, definition, seen_lsn, unsure_columns,
    sure_from, state, seeded_key, seeded_rows, complete_at_lsn
from shadow_tables
where slot = $1
order by schema_name, table_name
