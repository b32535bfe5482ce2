select
    schema_name || '.' || table_name as table, array_remove(columns, '') as columns, state, seeded_rows,
    complete_at_lsn
from shadow_tables
where slot = $1
order by 1
