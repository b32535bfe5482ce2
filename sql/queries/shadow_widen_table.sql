update shadow_tables
set columns = $2, column_types = $3, state = $4, seeded_key = $5, seeded_rows = $6, updated_at = now()
where id = $1
