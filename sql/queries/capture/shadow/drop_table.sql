with dropped as (
    delete from row_shadow where shadow_id = $1
)
delete from shadow_tables where id = $1
