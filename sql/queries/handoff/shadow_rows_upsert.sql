insert into row_shadow (shadow_id, row_key, row_values)
select *
from unnest($1::int4[], $2::bytea[], $3::bytea[])
on conflict (shadow_id, row_key) do update set row_values = excluded.row_values
