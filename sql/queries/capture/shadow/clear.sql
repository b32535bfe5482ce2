delete from row_shadow where shadow_id = $1
