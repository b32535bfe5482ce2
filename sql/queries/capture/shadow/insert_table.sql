insert into shadow_tables
    (slot, schema_name, table_name, table_oid, key_columns, columns, definition, seen_lsn)
values ($1, $2, $3, $4, $5, '{}', '{}', $6)
returning id
