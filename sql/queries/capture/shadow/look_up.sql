select shadow_id, row_key, row_values
from unnest($1::int4[], $2::bytea[]) as wanted (shadow_id, row_key)
join row_shadow using (shadow_id, row_key)
