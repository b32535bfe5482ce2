delete from row_shadow
using unnest($1::int4[], $2::bytea[]) as gone (shadow_id, row_key)
where row_shadow.shadow_id = gone.shadow_id and row_shadow.row_key = gone.row_key
