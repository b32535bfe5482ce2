insert into shadow_tables (slot, schema_name, table_name, table_oid, key_columns, columns, column_types)
values ($1, $2, $3, $4, $5, $6, $7)
returning id
