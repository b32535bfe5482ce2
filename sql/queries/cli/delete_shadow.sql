-- Without its progress the shadow stands nowhere in the WAL.
with rows as (
    delete from row_shadow
    using shadow_tables
    where shadow_tables.slot = $1 and shadow_tables.id = row_shadow.shadow_id
), rules as (
    delete from shadow_rules where slot = $1
)
delete from shadow_tables where slot = $1
