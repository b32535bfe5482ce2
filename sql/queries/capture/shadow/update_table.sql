update shadow_tables
set state = $2, seeded_key = $3, seeded_rows = $4, complete_at_lsn = $5, sure_from = $6,
    unsure_columns = $7, updated_at = now()
where id = $1
