insert into backfills
    (id, slot, schema_name, table_name, key_columns, rules, filter, search_path, since, since_column,
    until_key, subscription_id, from_lsn, rows_per_second, chunk_rows, estimate)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
