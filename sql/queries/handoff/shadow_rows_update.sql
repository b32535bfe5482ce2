-- Rows that are there: half the work of an upsert, and less than half the WAL.
update row_shadow set row_values = new.row_values
from unnest($1::int4[], $2::bytea[], $3::bytea[]) as new (shadow_id, row_key, row_values)
where row_shadow.shadow_id = new.shadow_id and row_shadow.row_key = new.row_key
