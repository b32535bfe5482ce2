-- Not where nothing is new: a session may begin often.
update shadow_tables
set columns = $2, state = $3, seeded_key = $4, seeded_rows = $5, definition = $6, sure_from = $7,
    unsure_columns = $8, seen_lsn = $9, updated_at = now()
where id = $1
    and (columns, state, definition, seen_lsn, unsure_columns)
        is distinct from ($2::text[], $3::text, $6::text, $9::pg_lsn, $8::text[])
